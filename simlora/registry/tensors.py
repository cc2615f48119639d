"""Tensors of a safetensors file without torch: their header, and their values as float32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simlora.engine.pickles import refuse_types
from simlora.errors import UserError

_NEEDED = "the registry needs the package safetensors; pip install 'simlora[registry]'"


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of one tensor."""

    dtype: str  # as safetensors names it
    shape: tuple[int, ...]


def read_headers(path: Path) -> dict[str, Header]:
    """The tensors of a file by name, without their values. Raises UserError if it cannot be read,
    is truncated or is no safetensors file."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise UserError(_NEEDED) from None
    try:
        with safe_open(path, framework="np") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: Header(part.get_dtype(), tuple(part.get_shape()))
                for name, part in parts.items()
            }
    except SafetensorError as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or 'no such file'}") from None


def read_values(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of a file by name. Raises UserError as `read_headers` does, and for other types
    than the floating-point numbers of 16 and 32 bits."""
    try:
        from safetensors import SafetensorError, deserialize
    except ImportError:
        raise UserError(_NEEDED) from None
    try:
        stored = deserialize(path.read_bytes())
    except SafetensorError as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    for name, part in stored:
        refuse_types(path, name, part["dtype"])
    return {
        name: _float32(part["data"], part["dtype"]).reshape(part["shape"]) for name, part in stored
    }


def _float32(data: bytes, dtype: str) -> NDArray[np.float32]:
    """Little-endian values; bf16, which numpy has not, is the upper half of a float32."""
    if dtype == "BF16":
        halves = np.frombuffer(data, "<u2").astype(np.uint32)
        return (halves << 16).view(np.float32)
    return np.frombuffer(data, "<f4" if dtype == "F32" else "<f2").astype(np.float32)


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: is truncated or no safetensors file ({error})".rstrip("."))
