"""`simlora report`: the HTML report of finished runs."""

from __future__ import annotations

from pathlib import Path

import click

from simlora.errors import UserError


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="HTML file (default: report.html in RUN; needed for several runs).",
)
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write a self-contained HTML report of the result directories RUN."""
    from simlora.report.html import write_reports
    from simlora.results.files import REPORT
    from simlora.results.result import load_result

    if out is None and len(runs) > 1:
        raise UserError("report: --out FILE is needed to report on several runs on one page")
    results = [load_result(run) for run in runs]
    click.echo(write_reports(results, out or runs[0] / REPORT))
