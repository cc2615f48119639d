"""`simlora report`: the HTML report of finished runs, and their figures as files."""

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
@click.option(
    "--figures",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write each figure into DIR as a file too.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "svg"]),
    help="Of the files in --figures (default: png).",
)
def report(
    runs: tuple[Path, ...], out: Path | None, figures: Path | None, kind: str | None
) -> None:
    """Write a self-contained HTML report of the result directories RUN; of several, side by side
    first, with differences to the first, and then one by one."""
    from simlora.report.figure_files import write_figures
    from simlora.report.html import write_reports
    from simlora.results.files import REPORT
    from simlora.results.result import load_result

    if out is None and len(runs) > 1 and figures is None:
        raise UserError("report: --out FILE is needed to report on several runs on one page")
    if kind is not None and figures is None:
        raise UserError("--format: goes with --figures DIR only")
    results = [load_result(run) for run in runs]
    if out is not None or len(runs) == 1:
        click.echo(write_reports(results, out or runs[0] / REPORT))
    if figures is not None:
        for path in write_figures(results, figures, "svg" if kind == "svg" else "png"):
            click.echo(path)
