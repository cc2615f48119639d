"""SHA-256 of files, and of a base model."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.registry.atomic import replace_file

TOKENIZER = "tokenizer.json"
_CONFIGS = ("config.json", "model.safetensors.index.json")


def user_cache() -> Path:
    """The user's own file to keep hashes of base models in; not in a registry, where whoever adds
    adapters could say what a base model's hash is."""
    told = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = told if told.is_absolute() else Path("~/.cache").expanduser()
    return home / "simlora" / "base-models.json"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises UserError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def base_model_hash(folder: Path, cache: Path | None = None) -> str:
    """The hash that stands for a base model: SHA-256 of the lines `<SHA-256>  <name>`, as sha256sum
    writes them, of `config.json`, `model.safetensors.index.json` where there is one, and all
    `*.safetensors` in the folder, in the order of their names.

    So it changes with any weight and with anything in the config, the version of transformers that
    wrote it included. `cache` is a file to keep the hashes of the weights in: they are computed
    again for files of another size, inode, or time of change, which no program can set back. Where
    it cannot be written, nothing is kept. Raises UserError if the folder has no config or no
    weights.
    """
    folder = folder.parent if folder.is_file() else folder
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / _CONFIGS[0]).is_file():
        raise UserError(f"{folder}: has no {_CONFIGS[0]}, so that it is no base model")
    if not weights:
        raise UserError(
            f"{folder}: has no safetensors file, and there is no base model without weights"
        )
    configs = [folder / name for name in _CONFIGS if (folder / name).is_file()]
    hashes = {path.name: file_sha256(path) for path in configs}
    hashes |= _cached(weights, cache)
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _cached(paths: list[Path], cache: Path | None) -> dict[str, str]:
    """Hashes by name, from the cache where it knows them."""
    known = _read(cache) if cache is not None else {}
    found, news = {}, False
    for path in paths:
        place, stamp = str(path.resolve()), _stamp(path)
        entry = known.get(place)
        if not isinstance(entry, dict) or entry.get("stamp") != stamp:
            known[place] = entry = {"stamp": stamp, "sha256": file_sha256(path)}
            # What changes while it is read is another file than the one of this stamp.
            news = _stamp(path) == stamp
        found[path.name] = str(entry["sha256"])
    if cache is not None and news:
        with suppress(OSError):  # it will take longer again
            cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            replace_file(cache, (json.dumps(known, indent=2) + "\n").encode())
    return found


def _stamp(path: Path) -> list[int]:
    about = path.stat()
    return [about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns]


def _read(cache: Path) -> dict[str, Any]:
    try:
        known = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
