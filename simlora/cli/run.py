"""`simlora run`: simulate one scenario."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from simlora.cli.errors import INTERRUPTED
from simlora.cli.progress import simulating
from simlora.errors import UserError
from simlora.scenario.loading import load_scenario, parse_setting, with_place


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Result directory (default: runs/<name of the scenario>).",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a field, for example --set fleet.0.replicas=2 (may be repeated).",
)
@click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Seed of all random draws.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of a table.")
@click.option("--no-report", is_flag=True, help="Do not write report.html.")
def run(
    scenario: Path,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    no_report: bool,
) -> int:
    """Simulate SCENARIO, print a summary table and write the result directory."""
    overrides = _overrides(settings, seed, no_report)
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
    _print(result.summary, as_json)
    click.echo(f"results: {directory}", err=True)
    return INTERRUPTED if result.summary["simulation"].get("interrupted") else 0


def _overrides(settings: tuple[str, ...], seed: int | None, no_report: bool) -> dict[str, Any]:
    overrides = dict(map(parse_setting, settings))
    if seed is not None:
        overrides["seed"] = seed
    if no_report:
        overrides["run.report"] = False
    return overrides


def _print(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    from rich.console import Console

    from simlora.cli.tables import summary_table

    Console().print(summary_table(summary))
