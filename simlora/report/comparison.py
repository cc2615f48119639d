"""The files of a comparison: figures for programs, a page and a picture for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.planning.bound import distances, is_bound
from simlora.planning.capacity_curves import CapacityCurves, capacity_curves
from simlora.planning.compare import Comparison, as_json
from simlora.planning.ranks import buckets_by_rank
from simlora.report import comparison_bound
from simlora.report.comparison_table import metrics_table, provenance_table
from simlora.report.comparison_words import basis, figure, same_everywhere, summary_words
from simlora.report.page import page
from simlora.report.plot import Plot, embedded

if TYPE_CHECKING:
    import pandas as pd

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
    plot: Plot
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
    same = same_everywhere(compared)
    told_apart = [metric for metric in compared.metrics if metric not in same]
    shown = [picture for picture in _pictures(compared, curves) if picture.shown]
    found = distances(compared)
    body = [
        f"<h1>Comparison with {escape(compared.baseline)}</h1>",
        f"<p class=soft>{escape(told)}.{interrupted}</p>",
        "<h2>Summary</h2>",
        *(f"<p class=opening>{escape(text)}</p>" for text in summary_words(compared)),
        f"<p class=soft>{escape(basis(compared))}</p>",
    ]
    if shown:
        body.append("<h2>Figures</h2>")
        body += [embedded(p.plot, p.file.removesuffix(".png")) for p in shown]
    if found:
        body.append(f"<h2>Distance from the bound</h2>\n{comparison_bound.table(found)}")
        body.append(f"<p class=soft>{escape(comparison_bound.note(compared, found))}</p>")
    body.append("<h2>Metrics</h2>")
    if told_apart:
        body.append(metrics_table(compared, told_apart))
    if same:
        first = [compared.of_metric(metric)[0] for metric in same]
        told = ", ".join(f"{line.metric.title} {figure(line)}" for line in first)
        body.append(f"<p>The same in all variants: {escape(told)}.</p>")
    body.append(f"<h2>Assumptions</h2>\n<p>{_CAVEAT}</p>")
    body.append(f"<h2>Provenance</h2>\n{provenance_table(compared)}")
    return page(f"simlora: comparison with {escape(compared.baseline)}", "\n".join(body))


def _pictures(compared: Comparison, curves: CapacityCurves | None) -> list[_Picture]:
    """Differences, then what there is of curves over capacity and of hit ratios by rank."""
    from simlora.report import comparison_curves, comparison_figure

    pictures = [
        _Picture(
            PNG,
            Plot("Differences", _CAPTION, lambda: comparison_figure.differences(compared)),
            shown=len(same_everywhere(compared)) < len(compared.metrics),
        )
    ]
    if curves is not None:
        title = "Eviction policy and size of the hot tier"
        caption = comparison_curves.capacity_caption(curves)
        plot = Plot(title, caption, lambda: comparison_curves.capacity(curves))
        pictures.append(_Picture(CURVES, plot))
    buckets = buckets_by_rank(compared)
    if buckets:
        bounds = [variant.name for variant in compared.variants if is_bound(variant.scenario)]
        caption = comparison_curves.ranks_caption(buckets, len(compared.seeds))
        draw = partial(comparison_curves.ranks, buckets, bounds)
        pictures.append(_Picture(RANKS, Plot("Busy and quiet tenants", caption, draw)))
    return pictures


def _draw(picture: _Picture, directory: Path) -> None:
    from simlora.report import style

    with style.styled_alone():
        style.save(picture.plot.draw(), directory / picture.file, "png", dpi=150)
