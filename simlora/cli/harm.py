"""`simlora harm`: what one tenant does to the others."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simlora.cli.cores import cores
from simlora.cli.options import setting_option
from simlora.cli.progress import counting
from simlora.errors import UserError
from simlora.scenario.loading import load_scenario, parse_setting, with_place

if TYPE_CHECKING:
    import pandas as pd

    from simlora.planning.harm import Harm


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--tenant", required=True, metavar="NAME", help="The tenant whose requests go.")
@click.option(
    "--replications",
    type=click.IntRange(min=1, max=10_000),
    help="Pairs of runs, each with a seed of its own (default: run.replications).",
)
@setting_option("gateway.rate_limits={}")
@click.option(
    "--top",
    type=click.IntRange(min=0, max=1000),
    default=10,
    show_default=True,
    help="How many of the most affected tenants to name.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: one a core).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def harm(
    scenario: Path,
    tenant: str,
    replications: int | None,
    settings: tuple[str, ...],
    top: int,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Tell who is hurt by a tenant of SCENARIO: simulate it with all requests, and again without
    those of the tenant, everybody else's being the same."""
    overrides = dict(map(parse_setting, settings))
    loaded = load_scenario(scenario, overrides, option="--set ")

    from simlora.planning import harm as planning

    with counting(2 * (replications or loaded.run.replications)) as progress:
        try:
            found = planning.harm(
                loaded, tenant, replications, jobs=jobs or cores(), progress=progress
            )
        except UserError as error:
            raise with_place(error, scenario, overrides) from None
    if as_json:
        click.echo(json.dumps(plain(found, top), indent=2, allow_nan=False, ensure_ascii=False))
        return 0
    from rich.console import Console

    from simlora.cli.harm_tables import harm_tables

    Console().print(harm_tables(found, top))
    return 0


def plain(found: Harm, top: int) -> dict[str, Any]:
    """What was found as plain values: all others, the tiers, and the most affected tenants."""
    (everyone,) = _records(found.of("all"))
    return {
        "tenant": found.tenant,
        "requests": found.requests,
        "seeds": list(found.seeds),
        "all": everyone,
        "tiers": _records(found.of("tier")),
        "tenants": _records(found.most_affected(top)),
    }


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A dict a row; None for NaN."""
    return [
        {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in record.items()
            if key != "scope"
        }
        for record in rows.to_dict("records")
    ]
