"""PEFT adapters, from their files to what a pool's pages hold, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from kernels.lora_stream import LoraModule
from kernels.shapes import MODULES, ModelShape
from simlora.engine.adapter_config import (
    CONFIG,
    WEIGHTS,
    check_names,
    module_name,
    read_adapter_config,
    tensor_name,
)
from simlora.engine.pickles import refuse_pickles
from simlora.engine.tensor_files import TensorFiles, open_tensors
from simlora.errors import UserError


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """An adapter in host memory.

    All of its modules, in all layers, have one rank: it takes as many pages as its `rank` and
    `modules` say, which is what a scheduler knows of it. Where the file has less, rows of zeros
    fill it up; the scale is in B, and 1 beside it.
    """

    rank: int
    modules: tuple[str, ...]  # in the order of MODULES
    weights: dict[tuple[int, str], LoraModule]  # by layer and module; as kernels.pack_adapter takes


def load_adapter(
    folder: Path,
    shape: ModelShape,
    dtype: torch.dtype,
    *,
    max_rank: int | None = None,
) -> LoadedAdapter:
    """The adapter in a folder with `adapter_config.json` and `adapter_model.safetensors`, for a
    base model of this shape. Matrices are of `dtype`, the pool's.

    Raises UserError, of one sentence that names the file and the field or tensor, for what is not
    plain LoRA on the seven linear modules, for files that do not fit each other or the model, and
    for values that are not finite. `max_rank`: the highest rank that it may have.
    """
    path = folder / CONFIG
    config = read_adapter_config(folder)
    try:
        targets = config.targets(shape.num_hidden_layers)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    rank = max(config.rank(name) for name in targets.values())
    if max_rank is not None and rank > max_rank:
        raise UserError(f"{path}: rank {rank} is more than {max_rank}, the highest there may be")
    if not (folder / WEIGHTS).exists():
        refuse_pickles(folder, WEIGHTS)
    modules = tuple(each for each in MODULES if any(module == each for _, module in targets))
    weights = {
        (layer, module): _zeros(shape, module, rank, dtype)
        for layer in range(shape.num_hidden_layers)
        for module in modules
    }
    with open_tensors([folder / WEIGHTS]) as tensors:
        check_names(folder / WEIGHTS, targets.values(), tensors.place)
        for at, name in targets.items():
            _fill(weights[at], name, config.rank(name), config.scale(name), tensors)
    return LoadedAdapter(rank, modules, weights)


def save_adapter(
    folder: Path,
    weights: Mapping[tuple[int, str], LoraModule],
    dtype: torch.dtype,
) -> None:
    """Write matrices as PEFT does: tensors of `dtype` and a config that names each module whose
    rank or scale is not that of the first."""
    names = {module_name(*at): module for at, module in weights.items()}
    tensors: dict[str, Tensor] = {}
    for name, module in names.items():
        tensors[tensor_name(name, "A")] = module.a.to(dtype).contiguous()
        tensors[tensor_name(name, "B")] = module.b.to(dtype).contiguous()
    ranks = {name: len(module.a) for name, module in names.items()}
    alphas = {name: module.scale * len(module.a) for name, module in names.items()}
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "target_modules": list(names),
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: each for name, each in ranks.items() if each != rank},
        "alpha_pattern": {name: each for name, each in alphas.items() if each != alpha},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(tensors, folder / WEIGHTS)


def _zeros(shape: ModelShape, module: str, rank: int, dtype: torch.dtype) -> LoraModule:
    inner, outer = shape.linear_shapes[module]
    a, b = torch.zeros(rank, inner, dtype=dtype), torch.zeros(outer, rank, dtype=dtype)
    return LoraModule(a, b, 1.0)


def _fill(module: LoraModule, name: str, rank: int, scale: float, tensors: TensorFiles) -> None:
    """Put a module's matrices into the first `rank` rows and columns, the scale into B."""
    tensors.fill(tensor_name(name, "A"), module.a[:rank])
    tensors.fill(tensor_name(name, "B"), module.b[:, :rank], scale)
