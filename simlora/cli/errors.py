"""What a failure looks like on the command line: one sentence on stderr and an exit code."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from simlora.errors import UserError

MISTAKE = 2
INTERRUPTED = 130


def exit_code(command: Callable[[], Any]) -> int:
    """Run the command; a user's mistake becomes `error: …` and 2, an interruption 130.

    Anything else is a bug and keeps its traceback.
    """
    try:
        code = command()
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return MISTAKE
    except click.ClickException as error:
        return _complain(_sentence(error))
    except UserError as error:
        return _complain(str(error))
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:  # `simlora … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _complain(sentence: str) -> int:
    click.echo(f"error: {sentence}", err=True)
    return MISTAKE


def _sentence(error: click.ClickException) -> str:
    """Click's message as one sentence, with where to find help."""
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message.replace(" is not a valid integer range", " is not a whole number")
    message = message.replace(" is not a valid float range", " is not a number")
    message = re.sub(r"\. \(Did you mean (?:one of: )?(.*?)\?\)$", r", did you mean \1?", message)
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message} (see {context.command_path} --help)" if context else message
