"""`simlora calibrate`: fit a timing profile to measurements."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from simlora.cli.machine_calibration import calibrate_here
from simlora.errors import UserError

if TYPE_CHECKING:
    from simlora.calibration.calibrate import Calibration

WEIGHTS = ("bf16", "fp8", "int8", "int4", "nvfp4")
TARGETS = ("all-linear", "attention", "qv")

_path = click.Path(path_type=Path)


@click.command()
@click.option(
    "--from",
    "files",
    type=_path,
    multiple=True,
    metavar="FILE",
    help="Measurements: a CSV table of steps, loads, kv_capacity or runs, or a JSON result of "
    "vllm bench serve (may be repeated; docs/measurements.md describes them).",
)
@click.option(
    "--recipe",
    "published",
    type=(click.Choice(["bsc"]), _path),
    metavar="RECIPE FILE",
    help="Also fit to the runs of a table of published runs, as validate --recipe reads them.",
)
@click.option(
    "--holdout",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    help="Leave out the share of that table's configurations that validate --holdout judges.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Seed (default 0).")
@click.option("--out", type=_path, required=True, help="Profile to write (JSON).")
@click.option(
    "--device",
    type=click.Choice(("cuda", "cpu")),
    help="Measure simlora's own engine here, on this device (without --from; default cuda).",
)
@click.option(
    "--budget",
    "budget_s",
    type=click.FloatRange(min=1),
    default=420.0,
    show_default=True,
    help="Seconds after which measuring with --device ends; another call goes on from there.",
)
@click.option(
    "--gpu",
    help="GPU that was measured, by its catalog name (with --device: what the device says it is).",
)
@click.option("--model", required=True, help="Base model, by its catalog name.")
@click.option("--weights", type=click.Choice(WEIGHTS), default="bf16", show_default=True)
@click.option("--tensor-parallel", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--preset",
    default="vllm-0.8.5",
    show_default=True,
    help="Engine preset that behaves like the server.",
)
@click.option("--server", help="What was measured, in words (default: the preset).")
@click.option("--name", help="Name of the profile (default: that of the file).")
@click.option(
    "--padded/--not-padded",
    default=None,
    help="Whether adapters cost by the rank of their slot (default: where the preset has slots).",
)
@click.option(
    "--targets",
    type=click.Choice(TARGETS),
    default="all-linear",
    show_default=True,
    help="Modules that the measured adapters have.",
)
@click.option(
    "--map",
    "mappings",
    metavar="COLUMN=THEIRS",
    multiple=True,
    help="What a column of ours is called in the CSV files (may be repeated).",
)
@click.option(
    "--where",
    "conditions",
    metavar="THEIRS=VALUE",
    multiple=True,
    help="Take only rows with this value in that column of theirs (may be repeated).",
)
@click.option(
    "--scenario", type=_path, help="Scenario of the server that vllm bench serve was run against."
)
@click.option(
    "--fix",
    "fixed",
    metavar="FIGURE=SECONDS",
    multiple=True,
    help="Do not fit this figure, it is known (may be repeated).",
)
@click.option("--folds", type=click.IntRange(2, 50), default=5, show_default=True)
@click.option(
    "--passes",
    type=click.IntRange(1, 20),
    default=4,
    show_default=True,
    help="Most rounds of simulating the runs and fitting to them.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes for runs."
)
@click.option("--source", help="Where the measurements come from (default: the files' names).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def calibrate(
    files: tuple[Path, ...],
    published: tuple[str, Path] | None,
    holdout: float,
    seed: int,
    out: Path,
    device: str | None,
    budget_s: float,
    gpu: str | None,
    model: str,
    weights: str,
    tensor_parallel: int,
    preset: str,
    server: str | None,
    name: str | None,
    padded: bool | None,
    targets: str,
    mappings: tuple[str, ...],
    conditions: tuple[str, ...],
    scenario: Path | None,
    fixed: tuple[str, ...],
    folds: int,
    passes: int,
    jobs: int,
    source: str | None,
    as_json: bool,
) -> None:
    """Fit a timing profile to measurements of a server, or measure simlora's engine here.

    The profile goes to the file --out, and a scenario uses it with timing: {profile: FILE}. What
    is printed: the figures and how well each is known, and the error on measurements that were left
    out of the fit.
    """
    from simlora.calibration.calibrate import Options, Server, calibrate
    from simlora.calibration.tables import Selection
    from simlora.scenario.catalog import Weights
    from simlora.scenario.presets import PRESETS
    from simlora.scenario.schema import TargetSet

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise UserError(f"--out: {out} cannot be written: there is no such directory, or it is one")
    profile_name = _profile_name(name, out)
    if not files and published is None:
        _refuse_others()
        if not math.isfinite(budget_s):
            raise UserError(f"--budget: must be a number of seconds, not {budget_s}")
        calibrate_here(
            model, device, gpu, tensor_parallel, budget_s, profile_name, out, as_json, _progress()
        )
        return
    if holdout and published is None:
        raise click.UsageError("--holdout needs --recipe")
    if device is not None:
        raise click.UsageError("--device measures here: it goes without --from and --recipe")
    if gpu is None:
        raise click.UsageError("--gpu is needed: the GPU that was measured")
    slots = PRESETS.get(preset, {}).get("memory", {}).get("mode") == "slots"
    measured = Server(
        name=profile_name,
        gpu=gpu,
        model=model,
        server=server or preset,
        preset=preset,
        padded=slots if padded is None else padded,
        weights=next(known for known in get_args(Weights) if known == weights),
        tensor_parallel=tensor_parallel,
        targets=next(known for known in get_args(TargetSet) if known == targets),
    )
    options = Options(
        selection=Selection(_pairs("--map", mappings), _pairs("--where", conditions)),
        scenario=scenario,
        given=_seconds(_pairs("--fix", fixed)),
        folds=folds,
        passes=passes,
        jobs=jobs,
        source=source,
        published=published[1] if published else None,
        holdout=holdout,
        seed=seed,
    )
    with _progress() as told:
        result = calibrate(files, measured, options, told)
    try:
        out.write_text(result.profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out: {out}: cannot be written: {error.strerror or error}") from None
    for warning in result.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(_as_json(result), indent=2))
    else:
        from rich.console import Console

        from simlora.cli.calibration_tables import calibration_tables

        Console().print(calibration_tables(result))
    click.echo(f"profile: {out}", err=True)


# What only measurements that come from elsewhere leave open.
_OTHERS = (
    "holdout",
    "seed",
    "weights",
    "preset",
    "server",
    "padded",
    "targets",
    "mappings",
    "conditions",
    "scenario",
    "fixed",
    "folds",
    "passes",
    "jobs",
    "source",
)


def _refuse_others() -> None:
    """Raises UsageError for an option that means nothing to a measurement of this machine."""
    context = click.get_current_context()
    options = {option.name: option.opts[0] for option in context.command.params}
    for name in _OTHERS:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise click.UsageError(f"{options[name]} needs measurements: --from FILE or --recipe")


def _profile_name(name: str | None, out: Path) -> str:
    """The profile's name: as given, or that of the file. Raises UserError if it is no name."""
    from pydantic import TypeAdapter, ValidationError

    from simlora.scenario.field_types import Name
    from simlora.scenario.wording import explain

    try:
        found: str = TypeAdapter(Name).validate_python(out.stem if name is None else name)
    except ValidationError as error:
        _, problem = explain(error)
        if name is not None:
            raise UserError(f"--name: {problem}") from None
        raise UserError(
            f"--out: the profile is named like its file, and a name {problem}; give one by --name"
        ) from None
    return found


def _pairs(option: str, texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or not value:
            raise UserError(f"{option} takes NAME=VALUE, not {text!r}")
        if key in pairs:
            raise UserError(f"{option}: {key} is given twice")
        pairs[key] = value
    return pairs


def _seconds(pairs: dict[str, str]) -> dict[str, float]:
    seconds = {}
    for name, text in pairs.items():
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value < 0:
            raise UserError(f"--fix: {name}: must be seconds of at least 0, not {text!r}")
        seconds[name] = value
    return seconds


def _as_json(result: Calibration) -> dict[str, Any]:
    from dataclasses import asdict

    fit, kv = result.fit, result.kv
    return {
        "profile": result.profile.model_dump(mode="json"),
        "figures": [asdict(estimate) for estimate in fit.estimates],
        "condition": fit.condition,
        "known_together": [list(group) for group in fit.together],
        "rows": dict(result.rows),
        "residuals": {name: summary.as_dict() for name, summary in result.residuals.items()},
        "errors": {name: summary.as_dict() for name, summary in result.errors.items()},
        "cross_validated": result.held_out,
        "passes": result.passes,
        "kv_capacity": None
        if kv is None
        else {key: value for key, value in asdict(kv).items() if key != "errors"},
        "warnings": list(result.warnings),
    }


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr; nothing at all where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("fitting", total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )
