"""A small checkpoint and adapter on disk, to be broken; neither transformers nor PEFT is needed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kernels.shapes import ModelShape
from simlora.engine.random_adapter import random_adapter
from simlora.engine.weights import ModelWeights, checkpoint_views, random_weights

CPU = torch.device("cpu")
CONFIG: dict[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 50,
    "max_position_embeddings": 64,
    "rms_norm_eps": 0.01,
    "rope_theta": 300.0,
    "hidden_act": "silu",
}
SHAPE = ModelShape(32, 48, 2, 4, 2, 16, 50, 0.01, 300.0, attention_bias=True)
LORA: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "somebody/base",
    "bias": "none",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "down_proj"],
}
Tensors = dict[str, Tensor]


def tensors_of(weights: ModelWeights) -> Tensors:
    """Copies: safetensors takes no two tensors of one storage."""
    return {name: view.clone() for name, view in checkpoint_views(SHAPE, weights).items()}


def write_checkpoint(folder: Path, *, tied: bool = False) -> ModelWeights:
    """Random weights of SHAPE in `model.safetensors`, and their config."""
    weights = random_weights(SHAPE, torch.float32, CPU, tied=tied, seed=3)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"tie_word_embeddings": tied}))
    save_file(tensors_of(weights), folder / "model.safetensors")
    return weights


def write_shards(folder: Path) -> ModelWeights:
    """The same in two files and an index."""
    weights = write_checkpoint(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for shard in set(shards.values()):
        own = {name: each for name, each in tensors.items() if shards[name] == shard}
        save_file(own, folder / shard)
    index = {"metadata": {}, "weight_map": shards}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return weights


def write_lora(folder: Path) -> Tensors:
    """An adapter as LORA says, under the names that PEFT gives its tensors."""
    tensors: Tensors = {}
    for (layer, module), each in random_adapter(SHAPE, 4, modules=LORA["target_modules"]).items():
        block = "self_attn" if module == "q_proj" else "mlp"
        prefix = f"base_model.model.model.layers.{layer}.{block}.{module}"
        tensors[f"{prefix}.lora_A.weight"] = each.a
        tensors[f"{prefix}.lora_B.weight"] = each.b
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(LORA))
    save_file(tensors, folder / "adapter_model.safetensors")
    return tensors


def edit_json(path: Path, **fields: Any) -> None:
    """Other values for fields of a JSON file; None takes a field away."""
    content = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: each for key, each in content.items() if each is not None}))


def edit_tensors(path: Path, change: Callable[[Tensors], object]) -> None:
    """Other tensors in a safetensors file."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
