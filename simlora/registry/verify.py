"""Whether an adapter is the one that its record tells of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simlora.engine.adapter_config import CONFIG, WEIGHTS
from simlora.errors import UserError
from simlora.registry.adapter_files import AdapterFiles, read_adapter
from simlora.registry.base_model import BaseModel
from simlora.registry.hashes import file_sha256
from simlora.registry.record import Record
from simlora.registry.signing import signature_problem
from simlora.scenario.problems import given, one_of

if TYPE_CHECKING:
    from simlora.registry.store import Entry


def problems(
    entry: Entry,
    trusted: Path,
    bases: Sequence[BaseModel] = (),
    tokenizer_hash: str | None = None,
) -> Iterator[str]:
    """What is wrong with a version, a sentence each: its folder, signature and hashes, the base
    model and tokenizer, then its config and tensors. Nothing more is looked at if a
    file is missing or the record is none.

    `bases` are the base models that it may be served with, `tokenizer_hash` the tokenizer if it is
    not the base model's; where they are silent nothing is compared.
    """
    try:
        record = entry.record
    except UserError as error:
        yield str(error)
        return
    yield from entry.strays()
    if (unsigned := signature_problem(record, trusted)) is not None:
        yield unsigned
    yield from _hashes(entry.folder, record)
    base = next((each for each in bases if each.sha256 == record.base_model_hash), None)
    if bases and base is None:
        yield (
            f"base_model_hash: the record has {_short(record.base_model_hash)}, but the base model "
            f"has {one_of(_short(each.sha256) for each in bases)}"
        )
    if tokenizer_hash is None and base is not None:
        tokenizer_hash = base.tokenizer_hash
    if tokenizer_hash is not None and record.tokenizer_hash != tokenizer_hash:
        recorded = "none" if record.tokenizer_hash is None else _short(record.tokenizer_hash)
        yield (
            f"tokenizer_hash: the record has {recorded}, but the tokenizer has "
            f"{_short(tokenizer_hash)}"
        )
    try:
        adapter = read_adapter(entry.folder, None if base is None else base.spec)
    except UserError as error:
        yield str(error)
    else:
        yield from _differences(record, adapter)


def _hashes(folder: Path, record: Record) -> Iterator[str]:
    for name, recorded in ((WEIGHTS, record.file_sha256), (CONFIG, record.config_sha256)):
        try:
            found = file_sha256(folder / name)
        except UserError as error:
            yield str(error)
            continue
        if found != recorded:
            which = "file_sha256" if name == WEIGHTS else "config_sha256"
            yield f"{which}: the record has {_short(recorded)}, but {name} has {_short(found)}"


def _differences(record: Record, adapter: AdapterFiles) -> Iterator[str]:
    """Fields in which the record is not what the config says."""
    config = adapter.config
    if record.rank != adapter.rank:
        yield f"rank: the record has {record.rank}, but {CONFIG} has {adapter.rank}"
    if record.target_modules != adapter.modules:
        yield (
            f"target_modules: the record has {', '.join(record.target_modules)}, but {CONFIG} has "
            f"{', '.join(adapter.modules)}"
        )
    if record.alpha != config.lora_alpha:
        yield f"alpha: the record has {record.alpha:g}, but {CONFIG} has {config.lora_alpha:g}"
    base = config.base_model_name_or_path
    if base is not None and record.base_model_name != base:
        yield (
            f"base_model_name: the record has {given(record.base_model_name)}, but {CONFIG} has "
            f"{given(base)}"
        )


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"
