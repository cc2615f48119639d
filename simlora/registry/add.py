"""Put an adapter into a registry."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simlora.engine.adapter_config import CONFIG, WEIGHTS
from simlora.engine.pickles import refuse_pickles
from simlora.errors import UserError
from simlora.registry.adapter_files import FILES, AdapterFiles, read_adapter
from simlora.registry.atomic import Work, new_folder
from simlora.registry.base_model import BaseModel
from simlora.registry.hashes import file_sha256
from simlora.registry.record import RECORD, Record, told
from simlora.registry.signing import sign
from simlora.registry.store import Entry, Registry

_LASTING = ("tenant", "base_model_hash")  # what a version is; other facts may come to be known


class Outcome(Enum):
    """What `add` did."""

    ADDED = "added"
    CHANGED = "has another record now"
    UNCHANGED = "is there already"


def add(
    registry: Registry,
    source: Path,
    base: BaseModel,
    about: Mapping[str, Any],
    key: Path | None = None,
) -> tuple[Record, Outcome]:
    """Copy the adapter in the folder `source` into the registry, with a record of it.

    `about` are the fields of the record that files do not tell: `adapter_id`, `tenant` and
    `version`, and others that are known. With `key`, a private key in PEM format, the record is
    signed. The version may be there already if its files have the same bytes: then its record is
    written anew from this call, but tenant and base model stay, and what was signed stays signed.

    The copy is what is checked, and appears under its name when it is whole. Links in `source` are
    followed. Raises UserError for an adapter that the engine does not load, one that does not fit
    the base model, values that are not finite, and a folder that cannot be read or written.
    """
    entry = registry.entry(str(about["adapter_id"]), str(about["version"]))
    if not source.is_dir():
        raise UserError(f"{source}: is no folder with an adapter")
    if not (source / WEIGHTS).exists():
        refuse_pickles(source, WEIGHTS)
    try:
        with new_folder(entry.folder, registry.path) as work:
            for name in FILES:
                _copy(source / name, work.path / name)
            record = _record(_checked(work.path, source, base), base, about)
            if key is not None:
                record = sign(record, key, registry.trusted)
            if entry.folder.exists():
                return record, _again(entry, record, work)
            (work.path / RECORD).write_bytes(record.file_bytes())
            work.keep()
    except FileExistsError:
        raise UserError(f"{entry.folder}: was added by another process meanwhile") from None
    except OSError as error:
        raise UserError(f"{registry.path}: cannot be written: {error.strerror}") from None
    return record, Outcome.ADDED


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        if error.filename not in (None, str(source)):
            raise
        raise UserError(f"{source}: cannot be read: {error.strerror or error}") from None


def _checked(copy: Path, source: Path, base: BaseModel) -> AdapterFiles:
    """The copy as an adapter; what is wrong with it is told of its source."""
    try:
        adapter = read_adapter(copy, base.spec)
        adapter.values()
    except UserError as error:
        raise UserError(str(error).replace(str(copy), str(source))) from None
    return adapter


def _record(adapter: AdapterFiles, base: BaseModel, about: Mapping[str, Any]) -> Record:
    named = adapter.config.base_model_name_or_path
    if named is None and base.spec is not None:
        named = base.spec.name
    fields: dict[str, Any] = {
        "base_model_name": named,
        "base_model_hash": base.sha256,
        "tokenizer_hash": base.tokenizer_hash,
        "rank": adapter.rank,
        "target_modules": adapter.modules,
        "alpha": adapter.config.lora_alpha,
        "file_sha256": file_sha256(adapter.folder / WEIGHTS),
        "config_sha256": file_sha256(adapter.folder / CONFIG),
    }
    try:
        return Record.model_validate(fields | dict(about))
    except ValidationError as error:
        raise UserError(told(error)) from None


def _again(entry: Entry, record: Record, work: Work) -> Outcome:
    """Take the new record for a version that is there, if it may be."""
    known = entry.record
    for name, sha256 in ((WEIGHTS, record.file_sha256), (CONFIG, record.config_sha256)):
        if file_sha256(entry.folder / name) != sha256:
            raise UserError(f"{entry}: is there already with another {name}; give it a new version")
    if known == record:
        return Outcome.UNCHANGED
    for field in _LASTING:
        old, new = getattr(known, field), getattr(record, field)
        if old != new:
            raise UserError(f"{entry}: {field} is {old} and cannot become {new}")
    if known.signed_by is not None and record.signed_by is None:
        raise UserError(
            f"{entry}: its record is signed by {known.signed_by}, so a new one must be, too"
        )
    work.replace(entry.folder / RECORD, record.file_bytes())
    return Outcome.CHANGED
