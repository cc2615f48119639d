"""`simlora run`: simulate one scenario."""

from __future__ import annotations

from pathlib import Path

import click

from simlora.cli.errors import INTERRUPTED
from simlora.cli.options import overrides_of, print_summary, run_options
from simlora.cli.progress import simulating
from simlora.errors import UserError
from simlora.scenario.loading import load_scenario, with_place


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Result directory (default: runs/<name of the scenario>).",
)
@run_options("fleet.0.replicas=2")
def run(
    scenario: Path,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    no_report: bool,
) -> int:
    """Simulate SCENARIO, print a summary table and write the result directory."""
    overrides = overrides_of(settings, seed, no_report)
    loaded = load_scenario(scenario, overrides, option="--set ")
    directory = out if out is not None else Path("runs") / loaded.name
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file, so results cannot be written there")

    from simlora.sim import simulate

    with simulating(loaded) as progress:
        try:
            result = simulate(loaded, out=directory, progress=progress)
        except UserError as error:
            raise with_place(error, scenario, overrides) from None
    if loaded.run.report:
        from simlora.report import write_report

        write_report(result)
    print_summary(result.summary, as_json)
    click.echo(f"results: {directory}", err=True)
    return INTERRUPTED if result.summary["simulation"].get("interrupted") else 0
