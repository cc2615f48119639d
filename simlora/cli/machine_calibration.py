"""The part of `simlora calibrate` that measures the machine it runs on."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simlora.errors import UserError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from simlora.calibration.hardware import Measured

Progress = AbstractContextManager[Callable[[str, int, int], None]]


def calibrate_here(
    model: str,
    device: str | None,
    gpu: str | None,
    tensor_parallel: int,
    budget_s: float,
    name: str,
    out: Path,
    as_json: bool,
    progress: Progress,
) -> None:
    """Measure the engine on `device` (None: the GPU), write the profile, print what it is worth."""
    try:
        from simlora.engine.bench import check_device, device_facts
    except ModuleNotFoundError as error:
        raise UserError(
            f"--device: measuring needs the package {error.name}; pip install 'simlora[engine]', "
            "or fit to somebody's measurements with --from FILE"
        ) from None
    from simlora.calibration.hardware import Machine, calibrate_machine, catalog_gpu

    if out.suffix == ".parquet":
        raise UserError(f"--out: {out} is the name of the table of measurements; end it in .json")
    device = device or "cuda"
    check_device(device)
    facts = device_facts(device)
    if device == "cpu":
        if gpu not in (None, "cpu"):
            raise UserError(f"--gpu: --device cpu measures this CPU, not {gpu}; leave --gpu out")
        gpu = "cpu"
    elif gpu is None:
        gpu = catalog_gpu(facts["device"], float(facts["memory_gib"]))
    with progress as told:
        measured = calibrate_machine(
            Machine(model, device, gpu, tensor_parallel, budget_s), name, out, told
        )
    try:
        out.write_text(measured.profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out: {out}: cannot be written: {error.strerror or error}") from None
    for warning in measured.warnings:
        click.echo(f"warning: {warning}", err=True)
    if as_json:
        click.echo(json.dumps(_as_json(measured), indent=2))
    else:
        from rich.console import Console

        Console().print(_tables(measured))
    click.echo(f"measurements: {measured.table}", err=True)
    click.echo(f"profile: {out}", err=True)


def _as_json(measured: Measured) -> dict[str, Any]:
    return {
        "profile": measured.profile.model_dump(mode="json"),
        "residuals": None if measured.residuals is None else measured.residuals.as_dict(),
        "errors": {kind: summary.as_dict() for kind, summary in measured.errors.items()},
        "copies": {
            part: [{"bytes": nbytes, "median_s": seconds} for nbytes, seconds in of_part]
            for part, of_part in measured.copies.items()
        },
        "steps": measured.steps,
        "missing": measured.missing,
        "warnings": list(measured.warnings),
        "table": str(measured.table),
    }


def _tables(measured: Measured) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from simlora.cli.calibration_tables import errors_table, figures_table, ranges_text

    profile = measured.profile
    head = Text(f"{profile.server}, {profile.model}: {measured.steps} steps fitted", style="bold")
    parts: list[RenderableType] = [head, Text("")]
    parts += [figures_table(measured.fit, profile), Text("")]
    if measured.errors:
        parts += [errors_table("on steps left out of the fit", measured.errors), Text("")]
    if measured.residuals is not None:
        parts += [errors_table("of the fit itself", {"step": measured.residuals}), Text("")]
    parts += [_copies(measured), Text(""), ranges_text(profile)]
    return Group(*parts)


def _copies(measured: Measured) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from simlora.cli.calibration_tables import seconds
    from simlora.report.words import size

    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column("an adapter's way")
    for head in ("bytes", "time", "rate"):
        table.add_column(head, justify="right", no_wrap=True)
    for part, of_part in measured.copies.items():
        for nbytes, took_s in of_part:
            table.add_row(part, size(nbytes), seconds(took_s), f"{size(nbytes / took_s)}/s")
    return table
