"""Hugging Face checkpoints of the Llama family: `config.json` and safetensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kernels.shapes import ModelShape
from simlora.engine.pickles import refuse_pickles
from simlora.engine.shape import shape_of
from simlora.engine.tensor_files import TensorFiles, open_tensors
from simlora.engine.weights import ModelWeights, checkpoint_views, empty_weights, random_weights
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.scenario.catalog.huggingface import read_config, read_json
from simlora.scenario.problems import given

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_LARGEST_INDEX_BYTES = 20_000_000
# Frequencies that old conversions of Llama stored; they follow from config.json.
_NEEDLESS = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model to run."""

    spec: ModelSpec
    shape: ModelShape
    weights: ModelWeights
    trained: bool  # False: random weights, since there were none beside the config.json


def load_checkpoint(
    folder: Path, dtype: torch.dtype, device: torch.device, *, seed: int = 0
) -> Checkpoint:
    """The model in a folder that has a `config.json` and safetensors: `model.safetensors`, or the
    shards that `model.safetensors.index.json` names. With a `config.json` alone, weights are drawn
    with `seed`.

    Raises UserError, of one sentence that names the file and the tensor, for a model that the
    engine does not compute, and for tensors that are missing, unknown, of another shape or type,
    or not finite.
    """
    folder = folder.parent if folder.is_file() else folder
    spec = read_config(folder)
    path = folder / "config.json"
    config = read_json(path)
    _check_computable(path, config)
    try:
        shape = shape_of(spec)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{spec.name}: ')}") from None
    files = _files(folder)
    if not files:
        tied = spec.tie_word_embeddings
        weights = random_weights(shape, dtype, device, tied=tied, seed=seed)
        return Checkpoint(spec, shape, weights, trained=False)
    weights = empty_weights(shape, dtype, device, tied=spec.tie_word_embeddings)
    with open_tensors(files) as tensors:
        _fill(folder, checkpoint_views(shape, weights), tensors)
        if spec.tie_word_embeddings and "lm_head.weight" in tensors.place:
            _check_tied(tensors, weights)
    return Checkpoint(spec, shape, weights, trained=True)


def _check_computable(path: Path, config: Mapping[str, Any]) -> None:
    """Raises UserError for what the simulator need not know of a model, but an engine must."""
    if (activation := config.get("hidden_act", "silu")) not in ("silu", "swish"):
        raise UserError(f'{path}: hidden_act must be "silu", not {given(activation)}')
    if config.get("quantization_config") is not None:
        raise UserError(f"{path}: quantization_config: quantized weights are not supported")
    if (part := config.get("partial_rotary_factor", 1.0)) != 1.0:
        raise UserError(f"{path}: partial_rotary_factor must be 1, not {given(part)}")
    # Mistral's window is 4,096 tokens where its config is silent, as in transformers.
    window = config.get("sliding_window", 4096 if config["model_type"] == "mistral" else None)
    on = config.get("use_sliding_window", False) or config["model_type"] == "mistral"
    if on and window is not None:
        raise UserError(f"{path}: sliding_window must be null, not {given(window)}")


def _files(folder: Path) -> list[Path]:
    """The files with a folder's weights; none if it has only a config.json."""
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    if not (folder / INDEX).exists():
        if stray := sorted(folder.glob("*.safetensors")):
            raise UserError(f"{stray[0]}: is neither {SINGLE} nor named by a {INDEX}")
        refuse_pickles(folder, SINGLE)
        return []
    index = read_json(folder / INDEX, "an index of shards", _LARGEST_INDEX_BYTES)
    shards = index.get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise UserError(f"{folder / INDEX}: weight_map must map tensors to files")
    for tensor, shard in shards.items():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard:
            raise UserError(
                f"{folder / INDEX}: weight_map.{tensor} must be a file beside it, not "
                f"{given(shard)}"
            )
        if not shard.endswith(".safetensors"):
            raise UserError(
                f"{folder / INDEX}: weight_map.{tensor} is {given(shard)}, but only safetensors "
                "files are read"
            )
    return [folder / shard for shard in sorted(set(shards.values()))]


def _fill(folder: Path, views: Mapping[str, Tensor], tensors: TensorFiles) -> None:
    """Fill all views. Raises UserError unless the files hold those tensors and no others."""
    for name, path in tensors.place.items():
        tied_head = name == "lm_head.weight"
        if name not in views and not tied_head and not _NEEDLESS.fullmatch(name):
            raise UserError(f"{path}: {name} is no tensor of the model in its config.json")
    for name, view in views.items():
        if name not in tensors.place:
            files = tensors.files
            raise UserError(f"{files[0] if len(files) == 1 else folder / INDEX}: {name} is missing")
        tensors.fill(name, view)


def _check_tied(tensors: TensorFiles, weights: ModelWeights) -> None:
    """Raises UserError if a head that is the embedding is stored, too, and is another."""
    head = torch.empty_like(weights.head)
    tensors.fill("lm_head.weight", head)
    if not torch.equal(head, weights.embedding):
        raise UserError(
            f"{tensors.place['lm_head.weight']}: lm_head.weight is not the embedding, though "
            "tie_word_embeddings is true"
        )
