"""Files and folders that are there whole or not at all, whenever a process or a machine stops."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".unfinished-"  # how the name of what is being written begins


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in the place of the one that is there, if there is one."""
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=path.parent)
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


@contextmanager
def new_folder(folder: Path, root: Path) -> Iterator[Work]:
    """A place to fill for a new folder; it lies in `root`, of the same file system, until then.
    Raises FileExistsError if the folder is there at the end and holds anything."""
    work = Work(Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=root)))
    try:
        yield work
        if work.kept:
            _name(work.path, folder)
            for changed in (folder.parent, root):
                _sync(changed)
    finally:
        shutil.rmtree(work.path, ignore_errors=True)


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
