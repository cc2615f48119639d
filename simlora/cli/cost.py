"""`simlora cost`: what each tenant costs, earns, and would cost otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from simlora.cli.errors import INTERRUPTED
from simlora.cli.progress import simulating
from simlora.errors import UserError
from simlora.report.words import moment
from simlora.results.result import Result, load_result
from simlora.scenario.cost import METHODS
from simlora.scenario.loading import load_scenario, parse_setting, with_place
from simlora.scenario.schema import Scenario

_LEAST_COLUMNS = 80


@click.command()
@click.argument("source", metavar="SCENARIO|RUN", type=click.Path(path_type=Path))
@click.option(
    "--attribution",
    type=click.Choice(METHODS),
    help="Divide the bill by this measure of use (default: cost.attribution.method).",
)
@click.option(
    "--idle",
    type=click.Choice(["spread", "own_line"]),
    help="Idle GPUs: spread over tenants, or on a line of their own "
    "(default: cost.attribution.idle).",
)
@click.option(
    "--dedicate",
    metavar="TENANT",
    multiple=True,
    help="Tell whether this tenant is to have an instance of its own (may be repeated).",
)
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Tenants to list."
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a field, for example --set cost.team.fte=5 (may be repeated); of a run, only "
    "fields of cost.",
)
@click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Seed of all random draws.")
@click.option(
    "--out", metavar="FILE", type=click.Path(path_type=Path), help="Write an HTML report to FILE."
)
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON, every tenant's.")
def cost(
    source: Path,
    attribution: str | None,
    idle: str | None,
    dedicate: tuple[str, ...],
    top: int,
    settings: tuple[str, ...],
    seed: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Tell what a month costs of SCENARIO, which is simulated first, or of the finished RUN in a
    result directory: who pays how much of it, what that leaves, and what other ways would cost."""
    if out is not None and out.is_dir():
        raise UserError(f"{out}: is a directory, so a report cannot be written there")
    overrides = dict(map(parse_setting, settings))
    if attribution is not None:
        overrides["cost.attribution.method"] = attribution
    if idle is not None:
        overrides["cost.attribution.idle"] = idle
    from simlora.cost import analysis

    if source.is_dir():
        result, scenario = _finished(source, overrides, seed)
        found = analysis.costs(result, scenario, dedicate)
    else:
        if seed is not None:
            overrides["seed"] = seed
        scenario = load_scenario(source, overrides, option="--set ")
        try:
            result = _simulated(scenario)
            found = analysis.costs(result, scenario, dedicate)
        except UserError as error:
            raise with_place(error, source, overrides) from None
    if as_json:
        plain = analysis.as_json(found)
        click.echo(json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        from rich.console import Console

        from simlora.cli.cost_tables import cost_tables

        console = Console()
        if console.width < _LEAST_COLUMNS:  # a terminal may wrap lines; a table loses figures
            console = Console(width=_LEAST_COLUMNS)
        console.print(cost_tables(found, top))
    if out is not None:
        from simlora.report.cost_page import write_costs

        click.echo(f"wrote {write_costs(found, result, out)}", err=True)
    simulation = result.summary["simulation"]
    if simulation["interrupted"]:
        click.echo(
            f"interrupted after {moment(simulation['span_s'])}; a month is taken to go on "
            "as it did until then",
            err=True,
        )
        return INTERRUPTED
    return 0


def _finished(
    directory: Path, overrides: dict[str, Any], seed: int | None
) -> tuple[Result, Scenario]:
    """A run that is over. Only prices may still be changed."""
    for key in [*overrides, *(["--seed"] if seed is not None else [])]:
        if not key.startswith("cost."):
            option = key if key.startswith("--") else f"--set {key}"
            raise UserError(
                f"{option}: {directory} is a finished run, of which only fields of cost can be "
                "changed; give the scenario to simulate it anew"
            )
    from simlora.cost.analysis import scenario_of

    result = load_result(directory)
    return result, scenario_of(result).with_overrides(overrides)


def _simulated(scenario: Scenario) -> Result:
    from simlora.sim import simulate

    with simulating(scenario) as progress:
        return simulate(scenario, progress=progress)
