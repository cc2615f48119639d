"""The files of a comparison: figures for programs, a page and a picture for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.planning.bound import is_bound
from simlora.planning.capacity_curves import CapacityCurves, capacity_curves
from simlora.planning.compare import Comparison, as_json
from simlora.planning.ranks import buckets_by_rank
from simlora.report.comparison_page import comparison_page
from simlora.report.plot import Plot

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
_ONE_CAPTION = (
    "Difference to the baseline in the one replication, in percent of the baseline or in "
    "percentage points. There is no interval, so nobody knows how much of it is chance."
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

    One that was interrupted has no such curves, and before any replication was whole no page and
    no picture.

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
            pictures = _pictures(compared, curves)
            plots = [picture.plot for picture in pictures if picture.shown]
            _write(directory / HTML, comparison_page(compared, plots))
            for picture in pictures:
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


def _pictures(compared: Comparison, curves: CapacityCurves | None) -> list[_Picture]:
    """Differences, then what there is of curves over capacity and of hit ratios by rank."""
    from simlora.report import comparison_curves, comparison_figure

    caption = _CAPTION if len(compared.seeds) > 1 else _ONE_CAPTION
    pictures = [
        _Picture(
            PNG,
            Plot("Differences", caption, lambda: comparison_figure.differences(compared)),
            shown=bool(comparison_figure.compared_metrics(compared)),
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
