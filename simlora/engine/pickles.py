"""The formats of weights that are not read, since reading a pickle runs what it holds."""

from __future__ import annotations

from pathlib import Path

from simlora.errors import UserError

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


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
