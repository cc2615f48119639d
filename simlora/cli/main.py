"""The `simlora` command: finds the subcommand's module, and turns mistakes into one sentence."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from importlib import import_module

import click

import simlora
from simlora.cli.errors import exit_code

# Command: what it does. Its module `simlora.cli.<command>` is imported when it is called, so that
# `simlora --help` and a small command never pay for the libraries of a large one.
_COMMANDS = {
    "run": "Simulate a scenario, print a summary and write a result directory.",
    "compare": "Compare scenarios on the same requests, and tell which differences are real.",
    "sweep": "Run every point of a grid or a list, on this machine or a cluster.",
    "plan": "Find the cheapest fleet that keeps every promise, or the load that one holds.",
    "harm": "Tell which tenants one tenant hurts: simulate with and without its requests.",
    "isolation": "Tell what sharing prefix caches leaks, and what isolating them costs.",
    "cost": "Tell what each tenant costs, earns, and would cost otherwise.",
    "trace": "Make, import and look at traces.",
    "calibrate": "Fit a timing profile to measurements of a server.",
    "live": "Serve a scenario in real time on a real engine.",
    "serve": "Answer OpenAI's API with simulated timing, to test gateways without a GPU.",
    "validate": "Judge predictions against measurements of real servers.",
    "report": "Write a self-contained HTML report of one or more runs.",
    "registry": "Keep the adapters that may be served: files, records and signatures.",
    "schema": "Print the JSON Schema of a scenario, for editors.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None if there is none of that name."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"simlora.cli.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"simlora.cli.{cmd_name}.{cmd_name} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a hint for a misspelt name."""
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_COMMANDS)}"
            raise click.UsageError(f'no command "{args[0]}", {hint}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(simlora.__version__, prog_name="simlora", message="%(prog)s %(version)s")
def cli() -> None:
    """Simulate and plan multi-tenant LoRA serving: one base model, one adapter per tenant."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for a mistake, 130 for Ctrl-C."""
    args = None if arguments is None else list(arguments)
    return exit_code(lambda: cli.main(args, prog_name="simlora", standalone_mode=False))
