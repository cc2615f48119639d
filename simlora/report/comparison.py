"""The files of a comparison: figures for programs, a page and a picture for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora import __version__
from simlora.errors import UserError
from simlora.planning.bound import distances, is_bound
from simlora.planning.capacity_curves import CapacityCurves, capacity_curves
from simlora.planning.compare import Comparison, Line, as_json
from simlora.planning.metrics import Metric
from simlora.planning.paired import Verdict
from simlora.planning.ranks import buckets_by_rank
from simlora.report import comparison_bound
from simlora.report.comparison_words import basis, change, change_unit, figure, same_everywhere
from simlora.report.page import page

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

JSON, PARQUET, HTML, PNG = (f"comparison.{kind}" for kind in ("json", "parquet", "html", "png"))
CURVES, RANKS = "curves.png", "ranks.png"
_FILES = (JSON, PARQUET, HTML, PNG, CURVES, RANKS)

_CAPTION = (
    "Mean difference to the baseline with its 95 % interval, in percent of the baseline's mean or "
    "in percentage points; the small dots are single replications. An interval that holds 0 shows "
    "no difference."
)
_CAVEAT = (
    "The intervals take the differences to be about normal over replications. There is no "
    "correction over metrics: of twenty without a difference, expect one to show one."
)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A figure of the page, and a file of its own; `shown`: the page has it."""

    file: str
    title: str
    caption: str
    draw: Callable[[], Figure]
    shown: bool = True


def write_comparison(compared: Comparison, directory: Path, jobs: int = 1) -> list[Path]:
    """Write the comparison's files into `directory`, made if need be; return their paths. `jobs` is
    the number of processes that work out what other capacities would do.

    One that was interrupted has no curves over capacity, and before any replication was whole no
    page and no picture.

    Raises:
        UserError: they cannot be written.
    """
    curves = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            (directory / name).unlink(missing_ok=True)
        figures = json.dumps(as_json(compared), indent=2, ensure_ascii=False) + "\n"
        _write(directory / JSON, figures)
        runs_table(compared).to_parquet(directory / PARQUET, index=False)
        if compared.seeds:
            if not compared.interrupted:
                curves = capacity_curves(compared.variants, compared.seeds[0], jobs)
            _write(directory / HTML, html(compared, curves))
            for picture in _pictures(compared, curves):
                _draw(picture, directory)
    except OSError as error:
        raise UserError(f"{directory}: cannot write there: {error.strerror or error}") from error
    return [directory / name for name in _FILES if (directory / name).exists()]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def runs_table(compared: Comparison) -> pd.DataFrame:
    """One row a variant, replication and metric, of all runs that finished."""
    import pandas as pd

    columns = ("variant", "replication", "seed", "metric", "unit", "value")
    rows = [
        (run.variant, run.replication, run.seed, m.key, m.unit, run.figures[m.key])
        for run in compared.runs
        for m in compared.metrics
    ]
    return pd.DataFrame(rows, columns=list(columns)).astype({"value": "float64"})


def html(compared: Comparison, curves: CapacityCurves | None = None) -> str:
    """The comparison as a page of its own, with the curves over capacity if given."""
    varied = ", ".join(compared.variants[0].settings)
    names = "; ".join(variant.name for variant in compared.variants)
    told = f"{varied}: {names}" if varied else names
    interrupted = " <b>The comparison was interrupted.</b>" if compared.interrupted else ""
    body = [
        f"<h1>Comparison with {escape(compared.baseline)}</h1>",
        f"<p class=soft>{escape(told)}.{interrupted}</p>",
        f"<p>{escape(basis(compared))}</p>",
    ]
    same = same_everywhere(compared)
    told_apart = [metric for metric in compared.metrics if metric not in same]
    body += [_figure(picture) for picture in _pictures(compared, curves) if picture.shown]
    found = distances(compared)
    if found:
        body.append(f"<h2>Distance from the bound</h2>\n{comparison_bound.table(found)}")
        body.append(f"<p class=soft>{escape(comparison_bound.note(compared, found))}</p>")
    body.append("<h2>Figures</h2>")
    sections = "".join(_section(compared, metric) for metric in told_apart)
    body.append(f"<div class=wide><table><tbody>{sections}</tbody></table></div>")
    if same:
        first = [compared.of_metric(metric)[0] for metric in same]
        told = ", ".join(f"{line.metric.title} {figure(line)}" for line in first)
        body.append(f"<p>The same in all variants: {escape(told)}.</p>")
    body.append(f"<p class=soft>{_CAVEAT}</p>")
    body.append(f"<p class=soft>simlora {escape(__version__)}</p>")
    return page(f"simlora: comparison with {escape(compared.baseline)}", "\n".join(body))


def _section(compared: Comparison, metric: Metric) -> str:
    """The rows of a metric, under a head of their own."""
    unit = {"pt": "points", "%": "%"}[change_unit(metric)]
    aim = "higher is better" if metric.higher_is_better else "lower is better"
    heads = (f"{metric.title}, {aim}", "mean", f"difference, {unit}", "adjusted p", "verdict")
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return f"<tr>{head}</tr>" + "".join(map(_row, compared.of_metric(metric)))


def _row(line: Line) -> str:
    kind = {Verdict.BETTER: "met", Verdict.WORSE: "missed"}.get(line.verdict or Verdict.SAME, "")
    verdict = line.verdict.value if line.verdict else "baseline"
    p = "" if line.adjusted_p is None else f"{line.adjusted_p:.2g}"
    cells: tuple[Any, ...] = (escape(line.variant), figure(line), change(line), p)
    told = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr>{told}<td><span class='{kind}'>{verdict}</span></td></tr>"


def _pictures(compared: Comparison, curves: CapacityCurves | None) -> list[_Picture]:
    """Differences, then what there is of curves over capacity and of hit ratios by rank."""
    from simlora.report import comparison_curves, comparison_figure

    pictures = [
        _Picture(
            PNG,
            "Differences",
            _CAPTION,
            lambda: comparison_figure.differences(compared),
            shown=len(same_everywhere(compared)) < len(compared.metrics),
        )
    ]
    if curves is not None:
        pictures.append(
            _Picture(
                CURVES,
                "Eviction policy and size of the hot tier",
                comparison_curves.capacity_caption(curves),
                lambda: comparison_curves.capacity(curves),
            )
        )
    buckets = buckets_by_rank(compared)
    if buckets:
        bounds = [variant.name for variant in compared.variants if is_bound(variant.scenario)]
        pictures.append(
            _Picture(
                RANKS,
                "Busy and quiet tenants",
                comparison_curves.ranks_caption(buckets, len(compared.seeds)),
                lambda: comparison_curves.ranks(buckets, bounds),
            )
        )
    return pictures


def _figure(picture: _Picture) -> str:
    from simlora.report import style

    with style.styled():
        drawn = picture.draw()
    svg = style.to_svg(drawn, picture.file.removesuffix(".png"))
    return (
        f"<h2>{escape(picture.title)}</h2>\n<figure><div class=wide>{svg}</div>"
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _draw(picture: _Picture, directory: Path) -> None:
    from simlora.report import style

    with style.styled_alone():
        drawn = picture.draw()
        drawn.savefig(directory / picture.file, dpi=150, metadata={"Software": None})
