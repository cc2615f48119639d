"""`simlora isolation`: what isolating prefix caches costs, and what sharing them gives away."""

from __future__ import annotations

import json
from pathlib import Path

import click

from simlora.cli.cores import cores
from simlora.cli.options import setting_option
from simlora.cli.progress import counting
from simlora.errors import UserError
from simlora.scenario.loading import load_scenario, parse_setting, with_place


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option("--attacker", metavar="NAME", help="The tenant who guesses (default: the last one).")
@click.option(
    "--probes",
    type=click.IntRange(min=100, max=1_000_000),
    default=4_000,
    show_default=True,
    help="Guesses to send over the run.",
)
@click.option(
    "--modes",
    metavar="A,B,C",
    help="Modes of engine.prefix_cache.isolation to look at, with +noise for timing noise "
    "(default: adapter,tenant,selective,shared,shared+noise).",
)
@click.option(
    "--noise",
    "noise_s",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    metavar="SECONDS",
    help="Longest time that +noise holds a request back "
    "(default: engine.prefix_cache.timing_noise_s, or 0.2).",
)
@click.option(
    "--faster",
    type=click.FloatRange(min=0, max=10_000),
    default=8.0,
    show_default=True,
    metavar="FACTOR",
    help="Price the modes again with all arrivals so many times as fast, to saturate the fleet; "
    "0: do not.",
)
@setting_option("fleet.0.replicas=2")
@click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Seed of all random draws.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory for isolation.json, isolation.png and probes.parquet.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: one a core).")
@click.option("--json", "as_json", is_flag=True, help="Print isolation.json instead of tables.")
def isolation(
    scenario: Path,
    attacker: str | None,
    probes: int,
    modes: str | None,
    noise_s: float | None,
    faster: float,
    settings: tuple[str, ...],
    seed: int | None,
    out: Path | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Attack the prefix cache of SCENARIO under each mode of isolation, and price the modes.

    A tenant guesses the others' prompts, right or wrong by a fair coin, and looks how soon the
    first token comes: the AUC says how well that tells right guesses from wrong ones (0.5: not at
    all). The price is that of the other tenants' requests without the attacker's.
    """
    overrides = dict(map(parse_setting, settings))
    if seed is not None:
        overrides["seed"] = seed
    loaded = load_scenario(scenario, overrides, option="--set ")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, so results cannot be written there")

    from simlora.planning import isolation as planning

    asked: tuple[str, ...] = planning.DEFAULT_MODES
    if modes is not None:
        asked = tuple(mode.strip() for mode in modes.split(","))
    with counting(planning.runs_of(asked, faster)) as progress:
        try:
            found = planning.isolation(
                loaded,
                attacker,
                probes=probes,
                modes=asked,
                noise_s=noise_s,
                faster=faster,
                jobs=jobs or cores(),
                progress=progress,
            )
        except UserError as error:
            raise with_place(error, scenario, overrides) from None
    if as_json:
        plain = planning.as_json(found)
        click.echo(json.dumps(plain, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        from rich.console import Console

        from simlora.cli.isolation_tables import isolation_tables

        Console().print(isolation_tables(found))
    if out is not None:
        from simlora.report.isolation import write_isolation

        for written in write_isolation(found, out):
            click.echo(f"wrote {written}", err=True)
    return 0
