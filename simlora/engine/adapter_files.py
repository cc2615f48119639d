"""PEFT adapter files: `adapter_model.safetensors` of a Llama-family model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from kernels.lora_stream import LoraModule

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


def _prefix(layer: int, module: str) -> str:
    block = "self_attn" if module in _ATTENTION else "mlp"
    return f"base_model.model.model.layers.{layer}.{block}.{module}"


def write_adapter(
    path: Path, weights: Mapping[tuple[int, str], LoraModule], dtype: torch.dtype
) -> None:
    """Write the matrices under the names that PEFT gives them."""
    tensors = {}
    for (layer, module), matrices in weights.items():
        prefix = _prefix(layer, module)
        tensors[f"{prefix}.lora_A.weight"] = matrices.a.to(dtype).contiguous()
        tensors[f"{prefix}.lora_B.weight"] = matrices.b.to(dtype).contiguous()
    save_file(tensors, path)


def read_adapter(path: Path, scale: float) -> dict[tuple[int, str], LoraModule]:
    """The matrices of a file, by layer and module."""
    tensors = load_file(path)
    found = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            prefix = name.removesuffix(".lora_A.weight")
            parts = prefix.split(".")
            layer, module = int(parts[parts.index("layers") + 1]), parts[-1]
            found[layer, module] = LoraModule(a, tensors[f"{prefix}.lora_B.weight"], scale)
    return found
