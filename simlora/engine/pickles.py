"""Which weights are not read: pickles, since reading one runs what it holds, and numbers of a type
that the engine does not compute with."""

from __future__ import annotations

from pathlib import Path

from simlora.errors import UserError

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_TYPES = ("F32", "F16", "BF16")  # as safetensors names them


def refuse_pickles(folder: Path, wanted: str) -> None:
    """Raises UserError if there is a pickle in place of the file `wanted`: `pytorch_model.bin` for
    `model.safetensors`. What else training leaves behind does not count."""
    stem = Path(wanted).stem
    files = sorted(each.name for each in folder.iterdir() if each.suffix in _PICKLES)
    pickles = [name for name in files if stem in name or name.startswith("consolidated")]
    if pickles:
        raise UserError(
            f"{folder / pickles[0]}: is a pickle, which may run code and is not read; "
            f"save it as {wanted}"
        )


def refuse_types(path: Path, tensor: str, dtype: str) -> None:
    """Raises UserError unless a tensor of a file has floating-point numbers of 16 or 32 bits."""
    if dtype not in _TYPES:
        raise UserError(
            f"{path}: {tensor} is of type {dtype}, but only {', '.join(_TYPES)} are supported"
        )
