"""What an adapter is trained for: a base model on disk, or its hash alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simlora.errors import UserError
from simlora.registry.hashes import TOKENIZER, base_model_hash, file_sha256
from simlora.registry.record import is_sha256
from simlora.scenario.catalog.huggingface import read_config
from simlora.scenario.catalog.specs import ModelSpec


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model: its hash, and what its folder says where there is one."""

    sha256: str
    spec: ModelSpec | None = None
    tokenizer_hash: str | None = None


def base_model(told: str, cache: Path | None = None) -> BaseModel:
    """The model in a folder, with its `tokenizer.json` if it has one, or the one of this hash.
    `cache` as in `hashes.base_model_hash`. Raises UserError if it is neither."""
    if is_sha256(told):
        return BaseModel(told)
    folder = Path(told)
    if not folder.is_dir():
        raise UserError(f"base model: {told} is no folder, and no hash of 64 hexadecimal digits")
    tokenizer = folder / TOKENIZER
    return BaseModel(
        base_model_hash(folder, cache),
        read_config(folder),
        file_sha256(tokenizer) if tokenizer.is_file() else None,
    )
