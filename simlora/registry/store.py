"""The registry's folder: `<adapter_id>/<version>/` with the files of an adapter and its record, and
`trusted/<name>.pem` with the public keys of those who may sign."""

from __future__ import annotations

import logging
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from simlora.errors import UserError
from simlora.registry.adapter_files import FILES
from simlora.registry.base_model import BaseModel
from simlora.registry.record import RECORD, Record, read_record
from simlora.registry.verify import problems
from simlora.scenario.field_types import Name
from simlora.scenario.problems import did_you_mean
from simlora.scenario.wording import explain

TRUSTED = "trusted"
_NAMES = (*FILES, RECORD)
_NAME = TypeAdapter[str](Name)
_alerts = logging.getLogger("simlora.registry")


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of an adapter, whether or not its record can be read."""

    adapter_id: str
    version: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.adapter_id}@{self.version}"

    @property
    def record(self) -> Record:
        """Raises UserError if it or another file cannot be read, or it is of another version."""
        if (unreadable := self.unreadable()) is not None:
            raise UserError(unreadable)
        record = read_record(self.folder / RECORD)
        for field in ("adapter_id", "version"):
            if getattr(record, field) != getattr(self, field):
                raise UserError(
                    f'{self.folder / RECORD}: {field} is "{getattr(record, field)}", but the '
                    f'folder is that of "{getattr(self, field)}"'
                )
        return record

    def unreadable(self) -> str | None:
        """Why a file of it must not be read: it is missing, a link, or no file at all."""
        for path in (self.folder / name for name in _NAMES):
            try:
                mode = path.lstat().st_mode
            except OSError as error:
                return f"{path}: cannot be read: {error.strerror}"
            if not stat.S_ISREG(mode):
                return f"{path}: is no plain file"
        return None

    def strays(self) -> list[str]:
        """A sentence on each thing in the folder that was not put there by `add`."""
        others = sorted(path for path in self.folder.iterdir() if path.name not in _NAMES)
        return [f"{path}: does not belong there" for path in others]


class Registry:
    """A folder of adapters. Made by `open`."""

    def __init__(self, path: Path, trusted: Path) -> None:
        self.path = path
        self.trusted = trusted

    @classmethod
    def open(cls, path: Path, *, trusted: Path | None = None) -> Registry:
        """The registry in a folder. `trusted`: the folder of public keys, by default the one inside
        it; a server that must not believe whoever can write to the registry has one of its own.

        Raises UserError if there is no such folder.
        """
        for folder in (path, *([] if trusted is None else [trusted])):
            if not folder.is_dir():
                raise UserError(f"{folder}: {'is no' if folder.exists() else 'no such'} folder")
        return cls(path, path / TRUSTED if trusted is None else trusted)

    def entry(self, adapter_id: str, version: str) -> Entry:
        """The place of a version, be it there or not. Raises UserError for a name that is none, or
        for one whose folder is a link."""
        _check_name("adapter_id", adapter_id)
        _check_name("version", version)
        folder = self.path / adapter_id / version
        for path in (folder.parent, folder):
            _check_folder(path)
        return Entry(adapter_id, version, folder)

    def entries(self, adapter_id: str | None = None, version: str | None = None) -> list[Entry]:
        """All versions, those of an adapter, or one of them, in the order of their names. Raises
        UserError if there is none of that name."""
        known = [found for found in self._look() if isinstance(found, Entry)]
        found = [
            entry
            for entry in known
            if adapter_id in (None, entry.adapter_id) and version in (None, entry.version)
        ]
        if adapter_id is None or found:
            return found
        self.entry(adapter_id, "any" if version is None else version)
        versions = [entry.version for entry in known if entry.adapter_id == adapter_id]
        if version is not None and versions:
            raise UserError(
                f'no version "{version}" of {adapter_id}: {did_you_mean(version, versions)}'
            )
        names = dict.fromkeys(entry.adapter_id for entry in known)
        raise UserError(f'no adapter "{adapter_id}": {did_you_mean(adapter_id, names)}')

    def strays(self) -> list[str]:
        """A sentence on each thing in the folder that is no version of an adapter, such as a link
        to one."""
        return [found for found in self._look() if isinstance(found, str)]

    def _look(self) -> Iterator[Entry | str]:
        """What is in the folder; a sentence for what does not belong there."""
        for adapter_id in _names(self.path):
            if adapter_id.casefold() == TRUSTED:
                continue
            try:
                _check_name("adapter_id", adapter_id)
                _check_folder(self.path / adapter_id)
            except UserError as error:
                yield _at(self.path / adapter_id, error)
                continue
            for version in _names(self.path / adapter_id):
                try:
                    yield self.entry(adapter_id, version)
                except UserError as error:
                    yield _at(self.path / adapter_id / version, error)

    def checked(
        self,
        adapter_id: str,
        version: str,
        *,
        base_model_hash: str,
        tokenizer_hash: str | None = None,
    ) -> Path:
        """The folder of an adapter that may be loaded, to be called before each load: its files are
        hashed and its signature is checked each time.

        Raises UserError, of one sentence, on any mismatch of hashes, signature, base model,
        tokenizer (unless None: then there is nothing to compare), rank or target modules. The
        sentence is logged as an error to `simlora.registry`, too, for whoever is to be alerted.
        Whether values are finite is left to the loading, which looks at all of them anyway.
        """
        entry = self.entry(adapter_id, version)
        base = BaseModel(base_model_hash, tokenizer_hash=tokenizer_hash)
        problem = next(problems(entry, self.trusted, [base]), None)
        if problem is not None:
            _alerts.error("%s is refused: %s", entry, problem)
            raise UserError(f"{entry}: {problem}")
        return entry.folder


def _check_name(field: str, name: str) -> None:
    """Raises UserError for what is no name, such as a path."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise UserError(f"{field}: {explain(error)[1]}") from None
    if field == "adapter_id" and name.casefold() == TRUSTED:
        raise UserError(f'adapter_id: "{name}" is the name of the folder of keys')


def _check_folder(path: Path) -> None:
    """Raises UserError for a link, or a file; there may be nothing."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UserError(f"{path}: is a link or a file, not a folder of this registry")


def _names(folder: Path) -> list[str]:
    """What is in a folder, but for names that begin with a dot: those are unfinished."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from None


def _at(path: Path, error: UserError) -> str:
    return f"{path}: {str(error).removeprefix(f'{path}: ')}"
