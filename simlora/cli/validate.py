"""`simlora validate`: predictions against measurements."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simlora.cli.progress import counting
from simlora.errors import UserError

if TYPE_CHECKING:
    from rich.table import Table

    from simlora.results.decisions import Line
    from simlora.validation.compare import Comparison
    from simlora.validation.rows import BscRun


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PREDICTED MEASURED | FILE.csv")
@click.option(
    "--recipe",
    type=click.Choice(("bsc", "s-lora")),
    help="Predict every run of a table of published runs: FILE.csv, as the recipe says "
    "(bsc: vLLM with LoRA; s-lora: S-LoRA, of which only the errors are printed).",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    help="Timing profile, by name or file, in place of the shipped one for its model (may be "
    "repeated).",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes (default 1).")
@click.option(
    "--holdout",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Judge only this share of the configurations, chosen by --seed.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed (default 0).")
@click.option(
    "--full-windows", is_flag=True, help="Simulate every run in full, also where it is stationary."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="With --recipe: directory for a fidelity report.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def validate(
    inputs: tuple[str, ...],
    recipe: str | None,
    profiles: tuple[str, ...],
    jobs: int | None,
    holdout: float | None,
    seed: int | None,
    full_windows: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Judge predictions against measurements.

    With two result directories PREDICTED and MEASURED: the error of each figure, and the first
    decision that is another one where both have a log of them (decisions.jsonl). With --recipe: all
    runs of a table are predicted, and judged by metric and regime.
    """
    paths = [Path(given) for given in inputs]
    options = {
        "--profile": profiles or None,
        "--jobs": jobs,
        "--holdout": holdout,
        "--seed": seed,
        "--full-windows": full_windows or None,
        "--out": out,
    }
    used = [name for name, value in options.items() if value is not None]
    if recipe is None:
        if len(paths) != 2:
            raise click.UsageError(
                "two result directories are needed, PREDICTED and MEASURED, "
                "or --recipe and a table of runs"
            )
        if used:
            raise click.UsageError(f"without --recipe there is no use for {' and '.join(used)}")
        _compare(paths[0], paths[1], as_json)
        return
    if len(paths) != 1:
        raise click.UsageError("--recipe takes one table of runs")
    if recipe == "s-lora":
        if len(profiles) > 1:
            raise click.UsageError("--recipe s-lora takes one --profile")
        unused = [name for name in used if name != "--profile"]
        if unused:
            raise click.UsageError(f"--recipe s-lora has no use for {' and '.join(unused)}")
        _slora(paths[0], profiles[0] if profiles else None, as_json)
        return
    _by_recipe(paths[0], profiles, jobs or 1, holdout, seed or 0, full_windows, out, as_json)


def _slora(path: Path, profile: str | None, as_json: bool) -> None:
    from simlora.timing.select import find_profile
    from simlora.validation.profiles import scaling_warning
    from simlora.validation.slora import MEASURED, judge, read_runs

    runs = read_runs(path)
    found = None if profile is None else find_profile(profile)
    if profile is not None and found is not None:
        elsewhere = sorted({run.gpu for run in runs} - {found.gpu})
        if elsewhere:
            _warn(scaling_warning(profile, found, " and ".join(elsewhere)))
    judged = judge(runs, profile)
    if as_json:
        _print_json(judged)
        return
    for gpu, figures in judged.items():
        told = ", ".join(f"{name} {figures[name]:.1%}" for name in MEASURED)
        click.echo(
            f"{gpu:12} {figures['runs']:3.0f} runs  mean error: {told}; "
            f"{figures['extrapolating_runs']:.0f} of {figures['runs']:.0f} runs beyond the "
            f"profile's range, {figures['scaled_runs']:.0f} scaled"
        )


def _compare(predicted: Path, measured: Path, as_json: bool) -> None:
    from simlora.results.decision_file import first_difference, read_decisions
    from simlora.results.files import DECISIONS
    from simlora.results.result import load_result
    from simlora.validation.compare import compare_results

    found = compare_results(load_result(predicted), load_result(measured))
    logs = predicted / DECISIONS, measured / DECISIONS
    both = all(log.is_file() for log in logs)
    difference = first_difference(*map(read_decisions, logs)) if both else None
    if as_json:
        entries: dict[str, Any] = {c.metric: {**_without(c), "error": c.error} for c in found}
        if both:
            entries["first_different_decision"] = difference and dict(
                zip(("line", "predicted", "measured"), difference, strict=True)
            )
        _print_json(entries)
        return
    _print([_comparison_table(found)])
    if both:
        _tell_decisions(difference)


def _tell_decisions(difference: tuple[int, Line | None, Line | None] | None) -> None:
    from simlora.results.decision_file import as_text
    from simlora.results.files import DECISIONS

    if difference is None:
        click.echo("\nall decisions are the same")
        return
    number, *lines = difference
    click.echo(f"\nthe first decision that differs is line {number} of {DECISIONS}:")
    for name, line in zip(("predicted", "measured"), lines, strict=True):
        click.echo(f"  {name:9}  {'none' if line is None else as_text(line)}")
    click.echo(
        "in real time a request may arrive on the other side of a step than it does in a "
        "simulation, so the logs of a live run and of a simulation usually part there"
    )


def _without(comparison: Comparison) -> dict[str, Any]:
    return {"predicted": comparison.predicted, "measured": comparison.measured}


def _by_recipe(
    path: Path,
    profiles: tuple[str, ...],
    jobs: int,
    holdout: float | None,
    seed: int,
    full_windows: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    if out is not None and out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, so a report cannot be written there")
    from simlora.validation.fidelity import bars, error_lines, fidelity, timing_notes
    from simlora.validation.profiles import profiles_for, scaling_warnings
    from simlora.validation.rows import held_out, read_runs
    from simlora.validation.runner import Settings, predict_runs

    runs = read_runs(path)
    if holdout is not None:
        count = len({run.config_id for run in runs})
        runs = held_out(runs, holdout, seed)
        if not runs:
            raise UserError(f"--holdout {holdout:g} leaves none of the {count} configurations")
    settings = Settings(profiles_for(runs, profiles), seed, shorten=not full_windows)
    runs = _with_profile(runs, settings.profiles)
    for warning in scaling_warnings(profiles):
        _warn(warning)
    started_s = time.perf_counter()
    with counting(len(runs)) as progress:
        outcomes = predict_runs(runs, settings, jobs, progress)
    wall_s = time.perf_counter() - started_s
    figures = fidelity(outcomes, settings, str(path), wall_s)
    if as_json:
        _print_json(figures)
    else:
        from simlora.cli.fidelity_tables import bar_table, error_table

        _print([bar_table(bars(outcomes)), error_table(error_lines(outcomes))])
        for note in timing_notes(figures):
            click.echo(f"\n{note}.")
    click.echo(f"{len(runs)} runs predicted in {wall_s:.0f} s", err=True)
    if out is not None:
        from simlora.validation.report import write_fidelity

        for written in write_fidelity(outcomes, figures, out):
            click.echo(f"wrote {written}", err=True)


def _with_profile(runs: Sequence[BscRun], profiles: dict[str, str]) -> list[BscRun]:
    """Leave out models that no profile is there for, and say so."""
    from simlora.validation.recipe import MODELS

    kept = [run for run in runs if MODELS.get(run.model, run.model) in profiles]
    left_out = sorted({run.model for run in runs} - {run.model for run in kept})
    if not kept:
        raise UserError(f"no timing profile for {', '.join(left_out)}; give one with --profile")
    if left_out:
        count = len(runs) - len(kept)
        click.echo(f"left out, for want of a profile: {count} of {', '.join(left_out)}", err=True)
    return kept


def _comparison_table(found: list[Comparison]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column("metric", overflow="fold")
    for head in ("predicted", "measured", "error"):
        table.add_column(head, justify="right", no_wrap=True)
    for line in found:
        error = "—" if line.error is None else f"{100 * line.error:+.1f} %"
        table.add_row(line.metric, _figure(line.predicted), _figure(line.measured), error)
    return table


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _print_json(figures: Any) -> None:
    click.echo(json.dumps(figures, indent=2, allow_nan=False))


def _warn(sentence: str) -> None:
    click.echo(f"warning: {sentence}", err=True)


def _print(parts: list[Table]) -> None:
    from rich.console import Console

    console = Console()
    for index, part in enumerate(parts):
        if index:
            console.print()
        console.print(part)
