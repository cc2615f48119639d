"""Files and folders that are there whole or not at all, whenever a process or a machine stops."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNFINISHED = ".unfinished-"  # how the name of what is being written begins


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in the place of the one that is there, if there is one."""
    handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


class Work:
    """A folder that is being filled, at `path`; lost unless it is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept = False

    def keep(self) -> None:
        """It is whole and gets its name when the block ends."""
        self.kept = True

    def replace(self, path: Path, content: bytes) -> None:
        """Write a file in the place of the one that is there, by way of this folder: what is left
        if the process is killed lies here."""
        part = self.path / path.name
        part.write_bytes(content)
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)


@contextmanager
def new_folder(folder: Path, root: Path) -> Iterator[Work]:
    """A place to fill for a new folder; it lies in `root`, of the same file system, until then.
    What killed processes have left there is removed. Raises FileExistsError if the folder is there
    at the end and holds anything."""
    _remove_leftovers(root)
    path, held = _locked_folder(root)
    work = Work(path)
    try:
        yield work
        if work.kept:
            _name(work.path, folder)
            for changed in (folder.parent, root):
                _sync(changed)
    finally:
        shutil.rmtree(work.path, ignore_errors=True)
        if held is not None:
            os.close(held)


def _remove_leftovers(root: Path) -> None:
    """What processes that were killed have left; those that still write hold a lock on theirs."""
    for path in root.glob(f"{_UNFINISHED}*"):
        if path.is_symlink() or not path.is_dir():
            continue
        with suppress(OSError):
            held = _lock(path)
            if held is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(held)


def _locked_folder(root: Path) -> tuple[Path, int | None]:
    """A new folder, and the descriptor with its lock."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root))
        # Before it has its lock, another process may take it for a leftover.
        with suppress(BlockingIOError, FileNotFoundError):
            held = _lock(path)
            if held is None or path.exists():
                return path, held
            os.close(held)


def _lock(folder: Path) -> int | None:
    """A descriptor with a lock that ends with it or the process; None where the file system has no
    locks. Raises BlockingIOError if another has the lock, OSError if there is no such folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _name(work: Path, folder: Path) -> None:
    for path in work.iterdir():
        _sync(path)
    _sync(work)
    work.chmod(0o755)
    folder.parent.mkdir(exist_ok=True)
    try:
        work.rename(folder)
    except OSError as error:
        if folder.exists():
            raise FileExistsError(str(folder)) from error
        raise


def _sync(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
