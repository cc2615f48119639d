"""`simlora sweep`: every point of a grid or a list, one row each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from simlora.cli.cores import cores
from simlora.cli.errors import INTERRUPTED

if TYPE_CHECKING:
    from simlora.planning.sweep import Ended, Progress
    from simlora.planning.sweep_best import Bound
    from simlora.planning.sweep_executors import Kind
    from simlora.planning.sweep_grid import Sweep

ALL_FAILED = 1


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--grid",
    metavar="KEY=A,B,C",
    multiple=True,
    help="Values of a field, for example --grid fleet.0.replicas=1,2 (may be repeated: all "
    "combinations).",
)
@click.option(
    "--list",
    "listed",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML list of points: mappings of fields to values, or names of scenario files; with "
    "--grid each under all combinations.",
)
@click.option(
    "--replications",
    type=click.IntRange(min=1, max=10_000),
    help="Runs of each point, each with a seed of its own (default: run.replications).",
)
@click.option(
    "--executor",
    type=click.Choice(["local", "dask"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or dask.",
)
@click.option(
    "--address",
    metavar="tcp://HOST:PORT",
    help="Scheduler of a dask cluster (default: dask makes one of --jobs processes here).",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: one a core).")
@click.option("--resume", is_flag=True, help="Go on in a directory that has points already.")
@click.option("--merge", is_flag=True, help="Run nothing: write sweep.parquet of what there is.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory for the points and sweep.parquet (default: runs/<name>-sweep).",
)
@click.option(
    "--best",
    metavar="FIGURE[:max]",
    multiple=True,
    help="Tell the point with the lowest (:max: the highest) mean of a figure, for example "
    "cost.usd_per_million_output_tokens (may be repeated).",
)
@click.option(
    "--where",
    metavar="FIGURE>=VALUE",
    multiple=True,
    help="Only points that keep to a bound can be the best (may be repeated).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def sweep(
    scenario: Path,
    grid: tuple[str, ...],
    listed: Path | None,
    replications: int | None,
    executor: Kind,
    address: str | None,
    jobs: int | None,
    resume: bool,
    merge: bool,
    out: Path | None,
    best: tuple[str, ...],
    where: tuple[str, ...],
    as_json: bool,
) -> int:
    """Run SCENARIO at every point of a grid or a list; write one row a point to sweep.parquet.

    A point that fails is a row with its error. What is finished is kept point by point, whatever
    happens: with --resume only what is missing is run, also of a larger grid. Exit code 1: every
    point failed.
    """
    if address is not None and executor == "local":
        raise click.UsageError("--address is for --executor dask")
    if address is not None and jobs is not None:
        raise click.UsageError("--jobs is for processes of this machine, not for a cluster's")

    if where and not best:
        raise click.UsageError("--where bounds what can be the best: it needs --best")

    from simlora.planning import sweep as planning
    from simlora.planning.sweep_best import (
        asked_figures,
        check_figures,
        check_tiers,
        is_of_a_tier,
        parse_bound,
    )
    from simlora.planning.sweep_executors import open_executor
    from simlora.planning.sweep_grid import plan_sweep
    from simlora.planning.sweep_store import Store

    bounds = [parse_bound(text) for text in where]
    plan = plan_sweep(scenario, grid, listed, replications)
    figures = asked_figures(best, bounds)
    tiers = plan.tier_names() if any(map(is_of_a_tier, figures)) else []
    check_tiers(figures, tiers)
    store = Store(out if out is not None else Path("runs") / f"{plan.name}-sweep")
    if merge:
        ended = planning.merge(plan, store)
    else:
        with (
            store.writing(resume=resume),
            open_executor(executor, jobs or cores(), address) as pool,
            _progress(len(plan)) as progress,
        ):
            ended = planning.run_sweep(
                plan, store, pool, progress, lambda row: check_figures(figures, row, tiers)
            )
    return _tell(plan, ended, best, bounds, as_json)


def _tell(
    plan: Sweep, ended: Ended, best: Sequence[str], bounds: Sequence[Bound], as_json: bool
) -> int:
    import pandas as pd

    from simlora.cli import sweep_tables
    from simlora.planning.sweep_best import best_points

    table = pd.read_parquet(ended.table)
    told = sweep_tables.as_json(plan, ended, table)
    if ended.interrupted:
        click.echo(f"interrupted after {len(table)} of {len(plan)} points", err=True)
    click.echo(f"wrote {ended.table}", err=True)
    found = []
    if len(table):
        found = best_points(table, plan.keys, best, bounds, plan.runs_of)
    told["best"] = sweep_tables.best_as_json(found)
    if as_json:
        click.echo(json.dumps(told, indent=2, allow_nan=False, ensure_ascii=False))
    else:
        from rich.console import Console

        Console().print(sweep_tables.sweep_tables(told))
    if ended.interrupted:
        return INTERRUPTED
    return 0 if told["ok"] else ALL_FAILED


@contextmanager
def _progress(total: int) -> Iterator[Progress | None]:
    """A bar on stderr with what is done, what failed, and the time left; nothing at all where
    stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    failures = TextColumn("{task.fields[failed]}")
    columns = (BarColumn(), MofNCompleteColumn(), failures, TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("points", total=total, failed="")
        yield lambda done, failed: bar.update(
            task, completed=done, failed=f"{failed} failed" if failed else ""
        )
