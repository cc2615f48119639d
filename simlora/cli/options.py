"""Options that several commands have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from simlora.scenario.loading import parse_setting

_Command = TypeVar("_Command", bound=Callable[..., Any])
_folder = click.Path(path_type=Path)


def setting_option(example: str) -> Callable[[_Command], _Command]:
    """`--set KEY=VALUE`, as `settings`."""
    return click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        multiple=True,
        help=f"Change a field, for example --set {example} (may be repeated).",
    )


def run_options(example: str) -> Callable[[_Command], _Command]:
    """What is asked of one run: `settings`, `seed`, `no_report` (see `overrides_of`), `as_json`."""
    options = (
        setting_option(example),
        click.option(
            "--seed", type=click.IntRange(min=0, max=2**63 - 1), help="Seed of all random draws."
        ),
        click.option(
            "--json", "as_json", is_flag=True, help="Print summary.json instead of a table."
        ),
        click.option("--no-report", is_flag=True, help="Do not write report.html."),
    )
    return lambda command: _with(options, command)


def overrides_of(settings: tuple[str, ...], seed: int | None, no_report: bool) -> dict[str, Any]:
    """The changes to the scenario, by field. Raises UserError."""
    overrides = dict(map(parse_setting, settings))
    if seed is not None:
        overrides["seed"] = seed
    if no_report:
        overrides["run.report"] = False
    return overrides


def print_summary(summary: dict[str, Any], as_json: bool) -> None:
    """A run's summary on stdout."""
    if as_json:
        click.echo(json.dumps(summary, indent=2))
        return
    from rich.console import Console

    from simlora.cli.tables import summary_table

    Console().print(summary_table(summary))


def engine_options(command: _Command) -> _Command:
    """What the embedded engine runs on, and its adapters: `device`, `registry`, `trusted`."""
    options = (
        click.option(
            "--device",
            type=click.Choice(("cuda", "cpu")),
            help="Where the embedded engine runs (default: the GPU if there is one).",
        ),
        click.option(
            "--registry",
            type=_folder,
            metavar="DIR",
            help="Registry that the embedded engine's adapters come from (default: random ones).",
        ),
        click.option(
            "--trusted",
            type=_folder,
            metavar="DIR",
            help="Folder of the public keys that may sign them (default: trusted in the registry).",
        ),
    )
    return _with(options, command)


def _with(options: tuple[Callable[[_Command], _Command], ...], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command
