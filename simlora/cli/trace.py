"""`simlora trace`: make, import, look at and convert traces."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import click

from simlora.errors import UserError

FORMATS = ("azure-llm", "burstgpt", "mooncake", "servegen", "csv", "parquet")
TIME_UNITS = ("s", "ms", "us", "ns", "datetime")

_path = click.Path(path_type=Path)
_block_option = click.option(
    "--prefix-block-tokens",
    type=click.IntRange(min=1),
    help="Tokens that a prefix hash stands for, where the file does not say.",
)


@click.group()
def trace() -> None:
    """Make, import, look at and convert traces (Parquet or CSV)."""


@trace.command()
@click.argument("scenario", type=_path)
@click.option("--out", type=_path, required=True, help="File to write: .parquet or .csv.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a field, for example --set workload.duration_s=60 (may be repeated).",
)
@click.option("--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Seed of all random draws.")
def generate(scenario: Path, out: Path, settings: tuple[str, ...], seed: int | None) -> None:
    """Write the requests of SCENARIO's workload to a trace file."""
    from simlora.scenario.deployment import expand
    from simlora.scenario.loading import load_scenario, parse_setting
    from simlora.workload.generate import generate_trace

    overrides = dict(map(parse_setting, settings))
    if seed is not None:
        overrides["seed"] = seed
    deployment = expand(load_scenario(scenario, overrides, option="--set "))
    with _rows_progress("generating") as progress:
        rows = generate_trace(deployment, out, progress)
    click.echo(f"{out}: {rows:,} requests")


@trace.command(name="import")
@click.argument("format_name", metavar="FORMAT", type=click.Choice(FORMATS))
@click.argument("inputs", metavar="INPUT…", nargs=-1, required=True, type=_path)
@click.option("--out", type=_path, required=True, help="File to write: .parquet or .csv.")
@click.option(
    "--tenants",
    type=click.IntRange(min=1, max=1_000_000),
    help="Spread a trace without tenants over this many, tenant-0000 … (default: 1).",
)
@click.option(
    "--zipf",
    type=click.FloatRange(min=0, max=100),
    default=1.0,
    show_default=True,
    help="Popularity of those tenants: the k-th has a share proportional to k**-zipf.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--map",
    "mappings",
    metavar="COLUMN=THEIRS",
    multiple=True,
    help="csv, parquet: what a trace's column is called in INPUT (may be repeated).",
)
@click.option("--time-unit", type=click.Choice(TIME_UNITS), help="csv, parquet (default: s).")
@_block_option
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many requests.")
def import_command(
    format_name: str,
    inputs: tuple[Path, ...],
    out: Path,
    tenants: int | None,
    zipf: float,
    seed: int,
    mappings: tuple[str, ...],
    time_unit: str | None,
    prefix_block_tokens: int | None,
    limit: int | None,
) -> None:
    """Import a public or private trace into a trace file.

    \b
    azure-llm  Azure LLM inference trace 2023 or 2024, CSV
    burstgpt   BurstGPT, CSV with or without session ids
    mooncake   Mooncake (FAST'25), JSON lines with prefix hashes
    servegen   ServeGen client files, or a directory of them
    csv        any CSV with --map COLUMN=THEIRS
    parquet    any Parquet file with --map COLUMN=THEIRS
    """
    from simlora.workload.importers import ImportOptions, import_trace
    from simlora.workload.importers.base import TimeUnit

    if format_name not in ("csv", "parquet"):
        for option, given in (
            ("--map", mappings),
            ("--time-unit", time_unit),
            ("--prefix-block-tokens", prefix_block_tokens),
        ):
            if given:
                raise UserError(f"{option} is for the formats csv and parquet, not {format_name}")
    unit = next(known for known in get_args(TimeUnit) if known == (time_unit or "s"))
    options = ImportOptions(
        tenants, zipf, seed, _column_map(mappings), unit, prefix_block_tokens, limit
    )
    with _rows_progress("importing") as progress:
        report = import_trace(format_name, list(inputs), out, options, progress)
    click.echo(f"{out}: {report.rows:,} requests")
    for note in report.notes:
        click.echo(note)
    for side, raised in (("prompt", report.raised_prompts), ("output", report.raised_outputs)):
        if raised:
            click.echo(f"{raised:,} requests had no {side} tokens and were given 1")


@trace.command()
@click.argument("file", type=_path)
@_block_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def describe(file: Path, prefix_block_tokens: int | None, as_json: bool) -> None:
    """Print the rates, lengths, tenants and prefix reuse of a trace."""
    from simlora.workload.describe import describe_trace

    with _rows_progress("reading") as progress:
        described = describe_trace(file, prefix_block_tokens, progress)
    if as_json:
        click.echo(json.dumps(described, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(file), title_justify="left", show_header=False)
    for name, value in _description_rows(described):
        table.add_row(name, value)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


@trace.command()
@click.argument("source", metavar="IN", type=_path)
@click.argument("out", metavar="OUT", type=_path)
@_block_option
def convert(source: Path, out: Path, prefix_block_tokens: int | None) -> None:
    """Convert a trace from Parquet to CSV or back."""
    from simlora.workload.trace import open_trace
    from simlora.workload.trace_writer import TraceWriter

    if source.exists() and out.exists() and out.samefile(source):
        raise UserError(f"{out}: is the input; write to another file")
    opened = open_trace(source, prefix_block_tokens)
    with (
        TraceWriter(out, opened.prefix_block_tokens) as writer,
        _rows_progress("converting") as progress,
    ):
        for _, rows in opened.rows():
            writer.write(rows)
            if progress is not None:
                progress(writer.rows_written)
    click.echo(f"{out}: {writer.rows_written:,} requests")


def _column_map(mappings: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for mapping in mappings:
        name, sign, theirs = mapping.partition("=")
        if not (name and sign and theirs):
            raise UserError(f"--map {mapping}: must be COLUMN=THEIRS, such as arrival_s=ts")
        columns[name] = theirs
    return columns


def _description_rows(described: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "requests", f"{described['requests']:,}"
    yield "span", f"{described['span_s']:,.1f} s"
    if described["rate_rps"] is not None:
        yield "rate", f"{described['rate_rps']:.3f} requests/s"
        yield "cv of gaps", f"{described['gap_cv']:.2f}"
    for side in ("prompt", "output"):
        lengths = described[f"{side}_tokens"]
        ranks = ", ".join(f"{rank} {lengths[rank]:,}" for rank in ("p50", "p95", "p99", "max"))
        yield f"{side} tokens", f"mean {lengths['mean']:,.1f}, {ranks}"
    tenants = described["tenants"]
    largest = f"largest {tenants['largest']} {tenants['largest_share']:.1%}"
    top = f"largest ten {tenants['largest_ten_share']:.1%}"
    yield "tenants", f"{tenants['count']:,}; {largest}, {top}"
    adapters = described["adapters"]
    if adapters is not None:
        base = adapters["base_model_share"]
        yield "adapters", f"{adapters['count']:,}" + (f"; {base:.1%} base model" if base else "")
    if described["session_share"]:
        yield "in sessions", f"{described['session_share']:.1%}"
    prefix = described["prefix_cache"]
    if prefix is not None:
        own = f"{prefix['hit_share_per_adapter']:.1%} of tokens within an adapter"
        shared = f"{prefix['hit_share_if_shared']:.1%} if shared by all"
        yield "reusable prompt", f"{own}, {shared} (blocks of {prefix['block_tokens']} tokens)"
        if prefix["rows_examined"] < described["requests"]:
            yield "", f"prefixes of the first {prefix['rows_examined']:,} requests"


@contextmanager
def _rows_progress(verb: str) -> Iterator[Callable[[int], None] | None]:
    """A row counter on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda rows: bar.update(task, description=f"{verb}: {rows:,} requests")
