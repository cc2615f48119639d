"""Where a live run's adapters come from: random ones that it draws itself, or a registry."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from simlora.errors import UserError
from simlora.live.registered import base_folder, look_up
from simlora.registry.adapter_files import FILES
from simlora.registry.base_model import base_model
from simlora.registry.record import RECORD, Record
from simlora.registry.store import Entry, Registry
from simlora.scenario.deployment import Deployment

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded

SPARE_BYTES = 2**30  # of the file system, left to others
_alerts = logging.getLogger("simlora.registry")
_Stamp = tuple[tuple[int, int, int, int], ...]


class Refused(UserError):
    """An adapter fails its check, and will as long as its files are what they are."""


class AdapterStore(Protocol):
    """Hands out the files of adapters, which are told by their index in the deployment.

    `may_refuse`: whether it may have something against a file that can be read.
    """

    may_refuse: bool

    def prepare(self, indexes: Iterable[int]) -> None:
        """These may be asked for; to be called once, before anything else. Raises UserError if
        there is one that cannot be served as the scenario says, or no room for copies."""

    def copy_to(self, index: int, folder: Path) -> None:
        """Make `folder` hold the adapter's files, in place of what it holds. May be called by any
        thread. Raises UserError if they cannot be had, Refused if they must not be loaded: then
        `folder` is what it was."""

    def refuse(self, index: int, error: UserError) -> Refused:
        """Something else is wrong with files that have been handed out. Returns what to raise, as
        `copy_to` does from now on until they are changed. May be called by any thread."""

    def withdrawn(self) -> list[int]:
        """Adapters that have been handed out and must not be served any longer; each is told once.
        May be called by any thread."""


def open_store(
    deployment: Deployment,
    engine: Embedded,
    directory: Path,
    *,
    registry: Path | None = None,
    trusted: Path | None = None,
) -> AdapterStore:
    """The adapters in the folder `registry`, whose records have to be signed by a key in `trusted`
    (default: the folder of keys inside it); without `registry` random ones, drawn by the
    scenario's seed. `directory` is the run's own, on the disk that the copies go to.

    Raises UserError if there is no such registry, or the base model has no weights of its own.
    """
    if registry is None:
        return RandomStore(deployment, engine, directory)
    return RegisteredStore(deployment, Registry.open(registry, trusted=trusted), directory)


class RandomStore:
    """Random adapters of the scenario's ranks and modules. Those that it calls corrupt are cut off
    in the middle."""

    may_refuse = False  # what is corrupt the scheduler knows of

    def __init__(self, deployment: Deployment, engine: Embedded, directory: Path) -> None:
        self._deployment = deployment
        self._engine = engine
        self._folder = directory / "store"

    def prepare(self, indexes: Iterable[int]) -> None:
        adapters = [self._deployment.adapters[index] for index in sorted(indexes)]
        self._folder.mkdir()
        check_room(self._folder, len(adapters), 2 * sum(adapter.nbytes for adapter in adapters))
        scenario, numbers = self._deployment.scenario, self._deployment.adapter_index
        damaged = {numbers[name] for name in scenario.adapters.loading.corrupt}
        for adapter in adapters:
            folder = self._folder / str(adapter.index)
            self._engine.write(folder, adapter, scenario.seed + adapter.index)
            if adapter.index in damaged:
                damage(folder)

    def copy_to(self, index: int, folder: Path) -> None:
        shutil.copytree(self._folder / str(index), folder, dirs_exist_ok=True)

    def refuse(self, index: int, error: UserError) -> Refused:
        return Refused(str(error))

    def withdrawn(self) -> list[int]:
        return []


class RegisteredStore:
    """A registry's adapters. Each copy is checked in full, and an adapter that fails is not handed
    out; what is wrong is logged as the registry's alerts are, once: until its files or the trusted
    keys are changed, it is refused without another look.

    One that has been handed out is withdrawn, for the rest of the run, if its retention ends, or if
    its files in the registry are changed and fail their check. `today`: the day, in UTC.
    """

    may_refuse = True

    def __init__(
        self,
        deployment: Deployment,
        registry: Registry,
        directory: Path,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._deployment = deployment
        self._registry = registry
        self._base = base_model(str(base_folder(deployment)))
        self._directory = directory
        self._today = today
        self._entries: dict[int, Entry] = {}
        self._handed_out: dict[int, tuple[_Stamp, Record]] = {}
        self._refused: dict[int, tuple[_Stamp, str]] = {}
        self._lock = Lock()

    def prepare(self, indexes: Iterable[int]) -> None:
        self._entries = look_up(self._deployment, self._registry, indexes)
        folders = [entry.folder for entry in self._entries.values()]
        sizes = [path.lstat().st_size for folder in folders for path in folder.iterdir()]
        check_room(self._directory, len(folders), sum(sizes))

    def copy_to(self, index: int, folder: Path) -> None:
        entry = self._entries[index]
        stamp = _stamp(entry)
        source = self._source(index)
        # What is checked and what is loaded are to be the same bytes: so the copy is checked, too,
        # as a registry of one adapter that nobody else writes to.
        with TemporaryDirectory(dir=self._directory) as incoming:
            copies = Registry(Path(incoming), self._registry.trusted)
            copy = copies.entry(entry.adapter_id, entry.version)
            try:
                shutil.copytree(source, copy.folder)
            except (OSError, shutil.Error) as error:
                raise UserError(f"{entry}: cannot be copied: {error}") from None
            self._check(copies, copy)
            with self._lock:
                self._handed_out[index] = (stamp, copy.record)
            if folder.exists():
                shutil.rmtree(folder)
            copy.folder.rename(folder)

    def refuse(self, index: int, error: UserError) -> Refused:
        with self._lock:
            handed_out, _ = self._handed_out.get(index, ((), None))
        surroundings = self._surroundings(self._entries[index])
        if handed_out:
            self._refused[index] = (handed_out + surroundings, str(error))
        return Refused(str(error))

    def _surroundings(self, entry: Entry) -> _Stamp:
        """What else a check looks at: strays in the folder, and keys."""
        try:
            return _stamps([entry.folder, *sorted(self._registry.trusted.iterdir())])
        except OSError:
            return ()

    def _source(self, index: int) -> Path:
        """Where an adapter is that may be loaded. Raises Refused, without another look if nothing
        has changed since the last time, and UserError if it cannot be read at present."""
        entry = self._entries[index]
        stamp = _stamp(entry)
        surroundings = self._surroundings(entry)
        known, why = self._refused.get(index, ((), ""))
        if stamp and known == stamp + surroundings:
            raise Refused(why)
        try:
            return self._check(self._registry, entry)
        except UserError as error:
            if not _readable(entry):
                raise
            if stamp:  # else files are missing, which is soon seen
                self._refused[index] = (stamp + surroundings, str(error))
            raise Refused(str(error)) from None

    def _check(self, registry: Registry, entry: Entry) -> Path:
        """The folder of an adapter that may be loaded. Raises UserError."""
        folder = registry.checked(
            entry.adapter_id,
            entry.version,
            base_model_hash=self._base.sha256,
            tokenizer_hash=self._base.tokenizer_hash,
        )
        self._check_retention(entry, entry.record)
        return folder

    def _check_retention(self, entry: Entry, record: Record) -> None:
        if record.retention_policy is not None and record.expired(self._today()):
            until = record.retention_policy.until
            _alerts.error("%s is refused: it was to be kept until %s only", entry, until)
            raise UserError(f"{entry}: it was to be kept until {until} only")

    def withdrawn(self) -> list[int]:
        with self._lock:
            known = list(self._handed_out.items())
        return [
            index for index, (stamp, record) in known if self._is_withdrawn(index, stamp, record)
        ]

    def _is_withdrawn(self, index: int, stamp: _Stamp, record: Record) -> bool:
        entry = self._entries[index]
        try:
            self._check_retention(entry, record)
            if (now := _stamp(entry)) != stamp:
                self._source(index)
                record = entry.record
        except UserError:
            with self._lock:
                return self._handed_out.pop(index, None) is not None
        with self._lock:
            if index in self._handed_out:
                self._handed_out[index] = (now, record)
        return False


def _stamp(entry: Entry) -> _Stamp:
    """What changes when a file of a version does; the time of a change no program can set back."""
    try:
        return _stamps(entry.folder / name for name in (*FILES, RECORD))
    except OSError:
        return ()


def _readable(entry: Entry) -> bool:
    """Whether it is the files themselves that a check is about, and not trouble in reading them,
    which may pass. That one is missing is no such trouble."""
    try:
        for name in (*FILES, RECORD):
            with (entry.folder / name).open("rb") as file:
                file.read(1)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _stamps(paths: Iterable[Path]) -> _Stamp:
    stats = [path.lstat() for path in paths]
    return tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)


def check_room(folder: Path, count: int, nbytes: int) -> None:
    """Raises UserError unless the files of `count` adapters, `nbytes` of them, find room."""
    free = shutil.disk_usage(folder).free - SPARE_BYTES
    if nbytes > free:
        raise UserError(
            f"tenants: the files of {count} adapters take {nbytes / 2**30:.1f} GiB, but "
            f"{free / 2**30:.1f} GiB are left in {folder.parent}; use fewer or smaller adapters, "
            "or set TMPDIR"
        )


def damage(folder: Path) -> None:
    """Cut an adapter's largest file off in the middle."""
    path = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
