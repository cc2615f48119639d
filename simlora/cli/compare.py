"""`simlora compare`: paired comparison of scenarios on common random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simlora.cli.cores import cores
from simlora.cli.errors import INTERRUPTED
from simlora.cli.progress import counting
from simlora.errors import UserError

if TYPE_CHECKING:
    from simlora.planning.compare import Comparison
    from simlora.planning.variants import Variant


@click.command()
@click.argument(
    "scenarios", nargs=-1, required=True, metavar="SCENARIO...", type=click.Path(path_type=Path)
)
@click.option(
    "--vary",
    "variations",
    metavar="KEY=A,B,C",
    multiple=True,
    help="Values of a field to compare, for example --vary fleet.0.replicas=1,2; the first is the "
    "baseline (may be repeated: all combinations).",
)
@click.option(
    "--replications",
    type=click.IntRange(min=1, max=10_000),
    help="Runs of each variant, each with a seed of its own (default: run.replications).",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 1),
    help="Seed of the first replication (default: the first scenario's).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory for comparison.json, .parquet, .html and .png, and for curves.png and "
    "ranks.png where there is something to see.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: one a core).")
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json instead of tables.")
def compare(
    scenarios: tuple[Path, ...],
    variations: tuple[str, ...],
    replications: int | None,
    seed: int | None,
    out: Path | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Compare variants: several SCENARIO files, or one with --vary.

    Every variant runs on the same seeds, so that all serve the same requests. Differences to the
    first variant come with 95 % confidence intervals over replications, and with a verdict: better,
    worse, no difference shown, or the same in every replication. Beside a variant with
    adapters.hot.eviction=belady, each one's distance from that bound is told.
    """
    variants = _variants(scenarios, variations)
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, so a comparison cannot be written there")

    from simlora.planning import compare as planning

    runs = len(variants) * planning.replications_of(variants, replications)
    with counting(runs) as progress:
        compared = planning.compare_variants(
            variants, replications, seed=seed, jobs=jobs or cores(), progress=progress
        )
    keys = [text.partition("=")[0].strip() for text in variations]
    _print(compared, ", ".join(key.rpartition(".")[2] for key in keys) or "scenario", as_json)
    if compared.interrupted:
        click.echo(f"interrupted after {len(compared.runs)} of {runs} runs", err=True)
    if out is not None and compared.runs:
        from simlora.report.comparison import write_comparison

        for written in write_comparison(compared, out, jobs or cores()):
            click.echo(f"wrote {written}", err=True)
    return INTERRUPTED if compared.interrupted else 0


def _variants(scenarios: tuple[Path, ...], variations: tuple[str, ...]) -> list[Variant]:
    from simlora.planning.variants import variants_of_files, variants_of_grid

    if len(scenarios) > 1 and variations:
        raise click.UsageError("--vary takes one scenario, several are compared as they are")
    if variations:
        variants = variants_of_grid(scenarios[0], variations)
    else:
        variants = variants_of_files(scenarios)
    if len(variants) < 2:
        raise click.UsageError(
            "there is nothing to compare with: give a second scenario, or --vary key=a,b with two "
            "values"
        )
    return variants


def _print(compared: Comparison, heading: str, as_json: bool) -> None:
    if as_json:
        from simlora.planning.compare import as_json as plain

        click.echo(json.dumps(plain(compared), indent=2, allow_nan=False, ensure_ascii=False))
        return
    if not compared.seeds:
        return
    from rich.console import Console

    from simlora.cli.comparison_tables import comparison_tables

    console = Console()
    console.print(comparison_tables(compared, heading, console.width))
