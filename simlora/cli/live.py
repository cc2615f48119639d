"""`simlora live`: serve a scenario in real time on a real engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from simlora.cli.errors import INTERRUPTED
from simlora.cli.openai_options import openai_options, server_options
from simlora.cli.options import engine_options, overrides_of, print_summary, run_options
from simlora.errors import UserError
from simlora.live.openai_options import ServerOptions
from simlora.live.signals import Interrupts
from simlora.scenario.loading import load_scenario, with_place
from simlora.scenario.schema import Scenario


@click.command()
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--engine",
    type=click.Choice(("embedded", "openai")),
    default="embedded",
    help="What serves the requests: simlora's own engine (the default), or the OpenAI-compatible "
    "server at --url.",
)
@engine_options
@openai_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Result directory (default: runs/<name of the scenario>-live).",
)
@run_options("workload.rate_rps=2")
def live(
    scenario: Path,
    engine: str,
    device: str | None,
    registry: Path | None,
    trusted: Path | None,
    out: Path | None,
    settings: tuple[str, ...],
    seed: int | None,
    as_json: bool,
    no_report: bool,
    **server: Any,
) -> int:
    """Serve SCENARIO in real time and write the result directory.

    It has the files of `simlora run`, and every decision (decisions.jsonl) and what it took
    (steps.parquet) besides. With --engine openai it has what a client can measure, and a
    table for `calibrate --from` (runs.csv). The first Ctrl-C lets no more requests come, the
    second ends the run.

    With --registry each adapter is the one of its name, in the version that was promoted last, and
    is checked before each load. Rank and target modules have to be the scenario's.
    """
    if registry is not None and engine != "embedded":
        raise UserError("--registry: is for --engine embedded only; other servers load their own")
    if device is not None and engine != "embedded":
        raise UserError("--device: is for --engine embedded only; other servers have their own")
    if trusted is not None and registry is None:
        raise UserError("--trusted: needs --registry, whose signatures it is for")
    overrides = overrides_of(settings, seed, no_report)
    loaded = load_scenario(scenario, overrides, option="--set ")
    directory = out if out is not None else Path("runs") / f"{loaded.name}-live"
    options = server_options(engine == "openai", server)
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory}: is a file, so results cannot be written there")

    from simlora.results.result import Result
    from simlora.sim.output import growing_result

    with Interrupts() as interrupts, growing_result(directory) as working:
        try:
            if options is None:
                summary = _embedded(loaded, working, device, registry, trusted, interrupts)
            else:
                summary = _openai(loaded, working, options, interrupts)
        except UserError as error:
            raise with_place(error, scenario, overrides) from None
    if loaded.run.report:
        from simlora.report import write_report

        write_report(Result(directory, summary))
    print_summary(summary, as_json)
    click.echo(f"results: {directory}", err=True)
    return INTERRUPTED if summary["simulation"]["interrupted"] else 0


def _embedded(
    scenario: Scenario,
    out: Path,
    device: str | None,
    registry: Path | None,
    trusted: Path | None,
    interrupts: Interrupts,
) -> dict[str, Any]:
    from simlora.live import run_live
    from simlora.live.view import watching

    with watching() as look:
        return run_live(
            scenario,
            out,
            device=device,
            note=_note,
            look=look,
            registry=registry,
            trusted=trusted,
            interrupts=interrupts,
        ).summary


def _openai(
    scenario: Scenario, out: Path, options: ServerOptions, interrupts: Interrupts
) -> dict[str, Any]:
    try:
        from simlora.live.openai_client import run_openai
        from simlora.live.openai_view import watching
    except ModuleNotFoundError as error:
        raise UserError(
            f"--engine: openai needs the package {error.name}; pip install 'simlora[serve]'"
        ) from None
    with watching() as look:
        return run_openai(
            scenario, out, options, note=_note, look=look, interrupts=interrupts
        ).summary


def _note(sentence: str) -> None:
    click.echo(f"note: {sentence}", err=True)
