"""The directory of a sweep: one small file a finished point, there whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from simlora.errors import UserError
from simlora.planning.sweep_work import Record
from simlora.registry.atomic import replace_file

TABLE = "sweep.parquet"
_POINTS, _LOCK = "points", ".lock"
_LASTING, _AGAIN = ".json", ".again"  # done; or the machine failed, so that it is to be redone


class Store:
    """Records by the identity of their points. One process at a time writes, any may read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._points = directory / _POINTS

    @contextmanager
    def writing(self, *, resume: bool) -> Iterator[None]:
        """Hold the directory, made if need be, until the block or this process ends.

        Raises UserError if another sweep holds it, if it has points already and is not resumed, or
        if it cannot be written to.
        """
        try:
            self._points.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.directory}: another sweep is writing there; wait for its end, or give "
                    "another --out"
                ) from None
            except OSError as error:  # a file system without locks
                raise self._unwritable(error) from None
            for left in self._points.glob(".*"):  # what kills have left half written
                left.unlink(missing_ok=True)
            held = len(self.finished()) + len(self.to_redo())
            if held and not resume:
                raise UserError(
                    f"{self.directory}: has {held:,} points of a sweep already: add --resume to "
                    "run only what is missing, or give another --out"
                )
            yield
        finally:
            os.close(descriptor)

    def finished(self) -> set[str]:
        """The points that need not be run again."""
        return self._named(_LASTING)

    def to_redo(self) -> set[str]:
        """The points that a machine failed."""
        return self._named(_AGAIN)

    def _named(self, kind: str) -> set[str]:
        try:
            names = os.listdir(self._points)
        except FileNotFoundError:
            return set()
        return {name.partition(".")[0] for name in names if name.endswith(kind) and name[0] != "."}

    def write(self, point: str, record: Record) -> None:
        """Keep a record; when this returns it is on the disk. Raises UserError."""
        text = json.dumps(asdict(record), ensure_ascii=False)
        kept = self._points / f"{point}{_LASTING if record.lasting else _AGAIN}"
        try:
            replace_file(kept, text.encode("utf-8", "surrogatepass"))
            if record.lasting:
                (self._points / f"{point}{_AGAIN}").unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def read(self, point: str) -> Record | None:
        """The record of a point, None if there is none. Raises UserError for a damaged file."""
        for kind in (_LASTING, _AGAIN):
            file = self._points / f"{point}{kind}"
            try:
                return Record(**json.loads(file.read_bytes()))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None
            except (ValueError, TypeError):
                raise UserError(
                    f"{file}: is not what a sweep wrote; remove it, and its point will be run again"
                ) from None
        return None

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"{self.directory}: cannot write there: {error.strerror or error}")
