"""`simlora plan`: the cheapest fleet that meets every promise, or the load that a fleet holds."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simlora.cli.cores import cores
from simlora.cli.errors import INTERRUPTED
from simlora.cli.options import setting_option
from simlora.errors import UserError
from simlora.results.files import REPORT
from simlora.scenario.loading import load_scenario, parse_setting, with_place
from simlora.scenario.schema import Scenario

if TYPE_CHECKING:
    from simlora.planning.plan import Plan
    from simlora.planning.search.growth import Growth

NONE_FOUND = 1


class _Finite(click.FloatRange):
    """A number within bounds that is neither infinite nor "not a number", which is within any."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--max-cost",
    type=_Finite(min=0, min_open=True),
    metavar="USD_PER_MONTH",
    help="The most that GPUs and hosts may cost; above it, tell what the money reaches.",
)
@click.option(
    "--confidence",
    type=_Finite(min=0.5, max=1, max_open=True),
    help="How surely every promise has to be kept (default: plan.confidence, 0.95).",
)
@click.option("--peak", is_flag=True, help="Tell the highest load that the scenario's fleet holds.")
@click.option(
    "--what-if",
    "what_if",
    metavar="KEY=FACTOR",
    multiple=True,
    help="Plan again for tenants=2 (twice as many, each as busy), load=2 or both with a comma (may "
    "be repeated).",
)
@setting_option("plan.max_replicas=16")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default: one a core).")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Directory for plan.json, report.html and, of the fleet that was found, scenario.yaml.",
)
@click.option("--json", "as_json", is_flag=True, help="Print plan.json instead of tables.")
def plan(
    scenario: Path,
    max_cost: float | None,
    confidence: float | None,
    peak: bool,
    what_if: tuple[str, ...],
    settings: tuple[str, ...],
    jobs: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Find the cheapest fleet that keeps every tier's promises on SCENARIO's traffic.

    Which GPUs, numbers of replicas, quantizations, cache sizes and policies there are to choose
    from is in the scenario's plan section. Configurations that cannot do are ruled out by
    arithmetic, the others by simulation; the fleet found is confirmed on fresh seeds, which had no
    part in the search. Exit code 1 says that there is none, or none within --max-cost.
    """
    from simlora.planning.search.growth import parse_growth

    if peak and (what_if or max_cost is not None):
        raise click.UsageError("--peak is about the scenario's own fleet: it takes no other option")
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, so a plan cannot be written there")
    growths = [parse_growth(text) for text in what_if]
    overrides = dict(map(parse_setting, settings))
    loaded = load_scenario(scenario, overrides, option="--set ")
    try:
        if peak:
            return _peak(loaded, confidence, jobs or cores(), out, as_json)
        return _plan(loaded, max_cost, confidence, growths, jobs or cores(), out, as_json)
    except UserError as error:
        raise with_place(error, scenario, overrides) from None


def _plan(
    scenario: Scenario,
    max_cost: float | None,
    confidence: float | None,
    growths: list[Growth],
    jobs: int,
    out: Path | None,
    as_json: bool,
) -> int:
    from simlora.planning import plan as planning
    from simlora.planning.search.as_json import plan_json

    with _telling() as tell:
        found = planning.plan(
            scenario,
            max_cost_usd=max_cost,
            confidence=confidence,
            jobs=jobs,
            what_if=growths,
            tell=tell,
        )
    told = plan_json(found)
    if as_json:
        _print_json(told)
    else:
        from rich.console import Console

        from simlora.cli.plan_tables import command_lines, plan_tables

        Console().print(plan_tables(found))
        if found.within_budget:
            click.echo(command_lines(found))
    if found.interrupted:
        click.echo(
            f"interrupted after {found.counted.runs} runs; this is the best so far", err=True
        )
    if out is not None:
        from simlora.report.plan_page import plan_page

        _write(out, told, found)
        _write_files(out, {REPORT: plan_page(found)})
    if found.interrupted:
        return INTERRUPTED
    return 0 if found.within_budget else NONE_FOUND


def _peak(
    scenario: Scenario, confidence: float | None, jobs: int, out: Path | None, as_json: bool
) -> int:
    from simlora.planning.plan import peak_of
    from simlora.planning.search.as_json import peak_json

    with _telling() as tell:
        found = peak_of(scenario, confidence=confidence, jobs=jobs, tell=tell)
    told = peak_json(found)
    if as_json:
        _print_json(told)
    else:
        from rich.console import Console

        from simlora.cli.plan_tables import peak_tables

        Console().print(peak_tables(found))
    if out is not None:
        from simlora.report.plan_page import peak_page

        _write(out, told, None)
        _write_files(out, {REPORT: peak_page(found, scenario)})
    return 0 if found.holds else NONE_FOUND


def _print_json(told: dict[str, Any]) -> None:
    click.echo(json.dumps(told, indent=2, allow_nan=False, ensure_ascii=False))


def _write(out: Path, told: dict[str, Any], found: Plan | None) -> None:
    from simlora.scenario.loading import dump_resolved

    files = {"plan.json": json.dumps(told, indent=2, allow_nan=False, ensure_ascii=False) + "\n"}
    if found is not None and found.best is not None:
        header = f"{found.best.name}, found by simlora plan"
        files["scenario.yaml"] = dump_resolved(found.best.scenario, header)
    _write_files(out, files)


def _write_files(out: Path, files: dict[str, str]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8", newline="\n")
            click.echo(f"wrote {out / name}", err=True)
    except OSError as error:
        raise UserError(
            f"{out}: a plan cannot be written there: {error.strerror or error}"
        ) from None


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Tells on stderr what was tried last; nothing at all where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("reading the traffic") as status:
        yield status.update
