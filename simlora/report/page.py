"""The frame of the report: style sheet and skeleton of the page."""

from __future__ import annotations

STYLE = """
:root { --ink: #1d2430; --soft: #5a6472; --line: #c9ced6; --paper: #ffffff; --tile: #f4f6f9;
  --good: #1b7a2f; --bad: #b3261e; --shade: rgba(30, 40, 60, .22); color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb9; --line: #4a5361;
  --paper: #14181e; --tile: #1e242d; --good: #6fce83; --bad: #ff8a80;
  --shade: rgba(0, 0, 0, .7); } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
h4 { font-size: .95rem; margin: 1.4rem 0 .4rem; }
h1 + p { margin-top: .2rem; } p.soft, figcaption, .tile small, td small { color: var(--soft); }
a { color: inherit; }
.opening { font-size: 1.1rem; font-weight: 500; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.tile { background: var(--tile); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; }
.tile small { display: block; }
.run { margin-top: 3.5rem; border-top: 3px solid var(--line); padding-top: .2rem; }
.run > h2 { font-size: 1.45rem; margin-top: 1rem; }
figure { margin: .8rem 0 1.2rem; } figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .85rem; margin-top: .3rem; }
.wide { overflow-x: auto; }
.wide:focus-visible { outline: 2px solid var(--soft); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
.wide + .wide { margin-top: 1.4rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td { white-space: nowrap; }
:is(th, td):first-child, :is(.promises, .tenants) :is(th, td):nth-child(2) {
  text-align: left; }
tbody th { min-width: 5.5rem; overflow-wrap: break-word; }
.promises { width: auto; } .promises :is(th, td) { padding-right: 1.6rem; }
.promises th + th { min-width: 11rem; }
:is(.provenance, .settings) :is(td, th) { text-align: left; white-space: normal;
  overflow-wrap: anywhere; }
:is(.provenance, .settings, .runs) tbody th { min-width: 8rem; }
th { color: var(--soft); font-weight: 600; }
/* The rows of figures are named in plain type, those of facts like their columns. */
table:not(.provenance, .settings, .runs) tbody th[scope=row] { color: inherit;
  font-weight: inherit; }
th[scope=rowgroup] { color: var(--ink); padding-top: 1rem; }
th small { color: var(--soft); font-weight: 400; margin-left: .4rem; }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
pre { background: var(--tile); border-radius: .5rem; padding: .9rem; overflow-x: auto;
  font-size: .8rem; line-height: 1.4; }
details summary { cursor: pointer; }
@media (max-width: 40rem) { body { padding: 1.2rem .9rem 3rem; } table { font-size: .8rem; }
  th, td { padding: .25rem .7rem .25rem 0; }
  .promises :is(th, td) { padding-right: .4rem; } .settings :is(td, th) { min-width: 5.5rem; }
  tbody th { min-width: 3.6rem; } .promises th + th { min-width: 5rem; }
  .promises td:nth-child(5) { min-width: 5.5rem; }
  .happenings tbody th { min-width: 8rem; }
  .metrics td:last-child { white-space: normal; min-width: 6rem; }
  .metrics :is(th, td):nth-child(4) { display: none; }
  .tiers :is(th, td):is(:nth-child(3), :nth-child(4), :nth-child(6), :nth-child(8)) {
  display: none; } .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: .6rem .7rem; } .tile b { font-size: 1.1rem; }
  figure svg { width: 44rem; max-width: none; }
  figcaption::before { content: "Swipe the figure sideways for the rest of it. "; }
  /* A shadow at the edge behind which there is more. */
  .wide { background: linear-gradient(to right, var(--paper) 40%, transparent) left / 2.5rem 100%,
  linear-gradient(to left, var(--paper) 40%, transparent) right / 2.5rem 100%,
  linear-gradient(to right, var(--shade), transparent) left / .7rem 100%,
  linear-gradient(to left, var(--shade), transparent) right / .7rem 100%;
  background-repeat: no-repeat; background-attachment: local, local, scroll, scroll; } }
@page { size: A4; margin: 14mm 13mm 16mm; }
@media print { :root { font-size: 11.5px; --ink: #000; --paper: #fff; --soft: #444; --line: #bbb;
  --tile: #f2f2f2; --good: #1b7a2f; --bad: #b3261e; color-scheme: light; }
  * { print-color-adjust: exact; }
  body { padding: 0; max-width: none; font-size: 1rem; line-height: 1.4; }
  .tiles { grid-template-columns: repeat(4, 1fr); } .wide { overflow: visible; background: none; }
  h1, h2, h3, h4, h5 { break-after: avoid; } p { orphans: 3; widows: 3; }
  tr, .tile, figure, .plot, pre, :is(.metrics, .errors) tbody { break-inside: avoid; }
  h3 + p.soft { break-after: avoid; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  thead { display: table-header-group; }
  figure svg { width: 100%; max-height: 20cm; } td { white-space: normal; }
  .run { break-before: page; border: 0; margin: 0; } .scenario { display: none; } }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document. `title` and `body` are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
