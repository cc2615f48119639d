"""The frame of the report: style sheet and skeleton of the page."""

from __future__ import annotations

STYLE = """
:root { --ink: #1d2430; --soft: #5a6472; --line: #c9ced6; --paper: #ffffff; --tile: #f4f6f9;
  --good: #1b7a2f; --bad: #b3261e; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb9; --line: #4a5361;
  --paper: #14181e; --tile: #1e242d; --good: #6fce83; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h1 + p { margin-top: .2rem; } p.soft, figcaption, .tile small { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(12.5rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0; }
.tile { background: var(--tile); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; }
.tile small { display: block; }
figure { margin: 1.2rem 0; break-inside: avoid; } figure svg { width: 100%; height: auto; }
figcaption { font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
.wide + .wide { margin-top: 1.4rem; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
th:first-child, td:first-child, .promises :is(th, td):nth-child(2) { text-align: left; }
td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 4rem; }
.promises { width: auto; } .promises :is(th, td) { padding-right: 1.6rem; }
th { color: var(--soft); font-weight: 600; }
.met { color: var(--good); } .missed { color: var(--bad); font-weight: 600; }
pre { background: var(--tile); border-radius: .5rem; padding: .9rem; overflow-x: auto;
  font-size: .8rem; line-height: 1.4; }
details summary { cursor: pointer; }
@media (max-width: 40rem) { body { padding: 1.2rem .9rem 3rem; } table { font-size: .8rem; }
  :is(.tiers, .promises) :is(th, td) { padding: .25rem .3rem .25rem 0; }
  .promises td:nth-child(2) { white-space: normal; }
  .tiers :is(th, td):is(:nth-child(3), :nth-child(4), :nth-child(6), :nth-child(8)) {
  display: none; } .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: .6rem .7rem; } .tile b { font-size: 1.1rem; }
  figure svg { width: 44rem; max-width: none; } }
@media print { body { padding: 0; max-width: none; font-size: 1rem; }
  .tiles { grid-template-columns: repeat(4, 1fr); } tr { break-inside: avoid; }
  :root { font-size: 10px; --ink: #000; --paper: #fff; --soft: #444; --line: #bbb; --tile: #f2f2f2;
  --good: #1b7a2f; --bad: #b3261e; } h2 { break-after: avoid; } }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document. `title` and `body` are HTML already."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
