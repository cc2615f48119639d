"""A worker process: `python -m simlora.dashboard.work FD SCRATCH` computes what it is told through
a connection, one thing after the other, until that is closed."""

from __future__ import annotations

import contextlib
import math
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from simlora.dashboard.tasks import task
from simlora.errors import UserError

LONGEST_S = 300.0  # that a task may take
_UNWATCHED_S = 10.0  # more: who watches a task is told first that it takes too long
_MOST_BYTES = 8 << 30  # of address space: an upload that unpacks to more fails by itself

TOO_MUCH = "the computation needs more memory than it may have: ask for less, or upload less"

Message = tuple[str, Any]  # what it is, and the thing itself


def main() -> None:
    """Serve until the dashboard is gone; then leave nothing behind."""
    connection: Connection[Message, Message] = Connection(int(sys.argv[1]))
    scratch = Path(sys.argv[2])
    tempfile.tempdir = str(scratch)  # results of in-memory runs too
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's
    with contextlib.suppress(ValueError, OSError):  # not every system has such a limit
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    try:
        serve(connection, scratch)
    except (EOFError, OSError):
        shutil.rmtree(scratch, ignore_errors=True)


def serve(connection: Connection[Message, Message], scratch: Path) -> None:
    """Answer one task after the other. Raises EOFError or OSError once nobody listens."""
    task("what_if")  # what most sessions begin with is imported before anybody asks

    def progress(share: float, told: str) -> None:
        connection.send(("progress", (share, told)))

    while True:
        name, arguments = connection.recv()
        answer: Message
        # Nobody may be watching any more, and the process ends then by itself.
        signal.alarm(math.ceil(LONGEST_S + _UNWATCHED_S))
        try:
            answer = ("done", task(name)(scratch, progress, *arguments))
        except UserError as error:
            # Where files lay while they were read tells the user nothing.
            answer = ("mistake", str(error).replace(f"{scratch}/", ""))
        except MemoryError:
            answer = ("mistake", TOO_MUCH)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            traceback.print_exc()  # for the server's log; the user gets one sentence
            answer = ("mistake", f"the computation failed: {type(error).__name__}")
        signal.alarm(0)
        connection.send(answer)


if __name__ == "__main__":
    main()
