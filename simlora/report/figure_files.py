"""All figures of finished runs as files of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from simlora.report.asked import read_asked, told_over_time
from simlora.report.cost import cost_plots
from simlora.report.plot import Format, Plot, write_plots
from simlora.report.run_names import names_of
from simlora.report.run_plots import plots_of
from simlora.report.runs_page import shared_plots
from simlora.results.result import Result


def write_figures(results: Sequence[Result], directory: Path, kind: Format = "png") -> list[Path]:
    """Write the figures that `write_reports` shows into `directory`, made if need be; return their
    paths. Of several runs those that show them together, and each run's in a folder of its own.

    Raises:
        UserError: they cannot be written, or a table of a result cannot be read.
    """
    if len(results) == 1:
        return write_plots(_plots(results[0]), directory, kind)
    names = names_of(results)
    paths = write_plots(shared_plots(results, names), directory, kind)
    for result, name in zip(results, names, strict=True):
        folder = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "run"
        paths += write_plots(_plots(result), directory / folder, kind)
    return paths


def _plots(result: Result) -> list[Plot]:
    asked = read_asked(result) if told_over_time(result) else None
    return [*plots_of(result, asked), *cost_plots(result)]
