"""Tensors in safetensors files, read with a word on whatever is wrong with them.

Nothing else is read: the other formats of checkpoints are pickles, which run what they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from simlora.engine.pickles import refuse_types
from simlora.errors import UserError


class TensorFiles:
    """Open files: where each tensor lies. Names are unique among the files.

    `place` is each tensor's file by the tensor's name.
    """

    def __init__(self, handles: Mapping[Path, Any]) -> None:
        self._handles = handles
        self.place: dict[str, Path] = {}
        for path, handle in handles.items():
            for name in handle.keys():  # noqa: SIM118
                if name in self.place:
                    raise UserError(f"{path}: {name} is in {self.place[name].name} as well")
                self.place[name] = path

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, from the file's header."""
        return tuple(self._handles[self.place[name]].get_slice(name).get_shape())

    @property
    def files(self) -> list[Path]:
        """The files that are open."""
        return list(self._handles)

    def fill(self, name: str, target: Tensor, scale: float = 1.0) -> None:
        """Copy a tensor, times `scale`, into `target`, as its dtype and where it lies.

        Raises UserError if it has another shape, is no floating-point number of 16 or 32 bits, or
        holds NaN or infinity, in the file or as `target`'s dtype.
        """
        path = self.place[name]
        part = self._handles[path].get_slice(name)
        refuse_types(path, name, part.get_dtype())
        if tuple(part.get_shape()) != tuple(target.shape):
            raise UserError(
                f"{path}: {name} has shape {list(part.get_shape())}, not {list(target.shape)}"
            )
        stored = self._handles[path].get_tensor(name)
        target.copy_(stored if scale == 1.0 else stored.float() * scale)
        if not bool(torch.isfinite(target).all()):
            dtype = str(target.dtype).removeprefix("torch.")
            raise UserError(f"{path}: {name} holds NaN or infinity as {dtype}")


@contextmanager
def open_tensors(paths: Iterable[Path]) -> Iterator[TensorFiles]:
    """Files to read from. Raises UserError if one is missing, truncated or no safetensors file."""
    with ExitStack() as stack:
        handles = {}
        for path in paths:
            try:
                handles[path] = stack.enter_context(safe_open(path, framework="pt"))
            except SafetensorError as error:
                raise UserError(
                    f"{path}: is truncated or no safetensors file ({error})".rstrip(".")
                ) from None
            except OSError as error:
                raise UserError(
                    f"{path}: cannot be read: {error.strerror or 'no such file'}"
                ) from None
        yield TensorFiles(handles)
