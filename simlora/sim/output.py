"""Where a run writes: beside its result directory's files, which it replaces only at the end."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from simlora.errors import UserError
from simlora.results import files

_PREFIX = ".unfinished-"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


@contextmanager
def growing_result(out: Path) -> Iterator[Path]:
    """A directory in `out` for the files of a run; without an error they replace at the end those
    of an earlier run, all of which go.

    What runs that were killed have left there is removed; runs that still go on are recognized by
    the lock on their directory.

    Raises:
        UserError: `out` is a file or cannot be written to, one of the files is a directory, or
            the disk is full.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in files.ALL:
            if (out / name).is_dir():
                raise UserError(f"{out / name}: is a directory, where the result has a file")
        _remove_leftovers(out)
        working = Path(mkdtemp(dir=out, prefix=_PREFIX))
    except OSError as error:
        raise _cannot_write(out, error) from None
    try:
        with _lock(working):
            yield working
        _replace(working, out)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise _cannot_write(out, error) from error
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _cannot_write(out: Path, error: OSError) -> UserError:
    return UserError(f"{out}: cannot write results there: {error.strerror or error}")


def _remove_leftovers(out: Path) -> None:
    for path in out.glob(f"{_PREFIX}*"):
        with _lock(path) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _lock(directory: Path) -> Iterator[bool]:
    """Hold a lock that ends with the process; False if another one has it, or there is no such
    lock on this file system."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(descriptor)


def _replace(source: Path, target: Path) -> None:
    """The summary goes first and comes last: without it a directory is no result."""
    (target / files.SUMMARY).unlink(missing_ok=True)
    for name in files.ALL:
        if not (source / name).exists():
            (target / name).unlink(missing_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: path.name == files.SUMMARY):
        os.replace(path, target / path.name)
