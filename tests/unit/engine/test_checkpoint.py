"""Checkpoints are read whole and rightly, or refused with a sentence that names file and tensor."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.rope import RopeScaling
from simlora.engine.checkpoint import load_checkpoint
from simlora.engine.shape import shape_of
from simlora.errors import UserError
from simlora.scenario.catalog import load_model, model_names
from simlora.scenario.catalog.huggingface import read_config
from simlora.scenario.schema import ModelChoice
from tests.unit.engine.checkpoint_files import (
    CONFIG,
    CPU,
    SHAPE,
    Tensors,
    edit_json,
    edit_tensors,
    tensors_of,
    write_checkpoint,
    write_shards,
)

LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
Q = "model.layers.1.self_attn.q_proj.weight"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_checkpoint(folder, torch.float32, CPU)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("write", [write_checkpoint, write_shards])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_tensor_is_read_to_its_place(
    tmp_path: Path, write: Callable[[Path], Any], dtype: torch.dtype
) -> None:
    written = tensors_of(write(tmp_path))
    checkpoint = load_checkpoint(tmp_path, dtype, CPU)
    assert checkpoint.trained
    assert checkpoint.shape == SHAPE
    read = tensors_of(checkpoint.weights)
    assert read.keys() == written.keys()
    assert "model.layers.1.self_attn.k_proj.bias" in read
    for name, tensor in written.items():
        assert torch.equal(read[name], tensor.to(dtype)), name


def test_the_config_stands_for_its_folder(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    assert load_checkpoint(tmp_path / "config.json", torch.float32, CPU).trained


def test_a_tied_head_is_the_embedding_whether_it_is_stored_or_not(tmp_path: Path) -> None:
    weights = write_checkpoint(tmp_path, tied=True)
    path = tmp_path / "model.safetensors"
    for stored in (None, weights.embedding, weights.embedding + 1):
        if stored is not None:
            tensors = load_file(path) | {"lm_head.weight": stored.clone()}
            save_file(tensors, path)
        if stored is None or torch.equal(stored, weights.embedding):
            read = load_checkpoint(tmp_path, torch.float32, CPU).weights
            assert read.head is read.embedding
            assert torch.equal(read.head, weights.embedding)
    assert refusal(tmp_path).startswith(f"{path}: lm_head.weight is not the embedding")


def test_frequencies_of_old_conversions_are_passed_over(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    edit_tensors(
        tmp_path / "model.safetensors", lambda tensors: tensors.update({name: torch.ones(8)})
    )
    assert load_checkpoint(tmp_path, torch.float32, CPU).trained


def test_a_config_alone_gives_random_weights_of_its_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "optimizer.pt").write_bytes(b"what training left behind")
    one, same, other = (
        load_checkpoint(tmp_path, torch.float32, CPU, seed=seed) for seed in (1, 1, 2)
    )
    assert not one.trained
    assert one.shape == SHAPE
    assert torch.equal(one.weights.embedding, same.weights.embedding)
    assert not torch.equal(one.weights.embedding, other.weights.embedding)


# --- config.json ---------------------------------------------------------------------------


def test_positions_are_read_in_the_old_form_and_in_the_new(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    old = {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}}
    older = {"rope_theta": 5e5, "rope_scaling": {"type": "llama3", **LLAMA3}}
    new = {
        "rope_theta": None,
        "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3},
    }
    for fields in (old, older, new):
        path.write_text(json.dumps(CONFIG))
        edit_json(path, **fields)
        shape = shape_of(read_config(path))
        assert shape.rope_theta == 5e5
        assert shape.rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)
    for plain in (
        {"rope_scaling": {"rope_type": "default"}},
        {"rope_theta": None, "rope_parameters": {"rope_theta": 300.0, "rope_type": "default"}},
    ):
        path.write_text(json.dumps(CONFIG))
        edit_json(path, **plain)
        assert shape_of(read_config(path)) == SHAPE


def test_what_a_config_leaves_out_is_as_in_transformers(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    edit_json(path, rms_norm_eps=None, rope_theta=None, head_dim=None, num_key_value_heads=None)
    shape = shape_of(read_config(path))
    assert (shape.rms_norm_eps, shape.rope_theta, shape.rope_scaling) == (1e-6, 10_000.0, None)
    assert (shape.head_dim, shape.num_key_value_heads) == (8, 4)


def test_the_engine_takes_every_model_of_the_catalog_with_its_positions() -> None:
    shapes = {name: shape_of(load_model(ModelChoice(name=name))) for name in model_names()}
    scaled = {name for name, shape in shapes.items() if shape.rope_scaling is not None}
    assert scaled == {name for name in shapes if name.startswith("llama-3")}
    assert shapes["llama-3.1-8b"].rope_scaling == RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)
    assert shapes["llama-3.1-8b"].rope_theta == 500_000.0
    assert (shapes["qwen2.5-7b"].rope_theta, shapes["qwen2.5-7b"].rms_norm_eps) == (1e6, 1e-6)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "gpt2"}, 'model_type is "gpt2"'),
        ({"hidden_act": "gelu"}, 'hidden_act must be "silu", not "gelu"'),
        ({"quantization_config": {"bits": 4}}, "quantized weights are not supported"),
        ({"rope_scaling": YARN}, 'rope_scaling: rope_type is "yarn", but the engine has default, '),
        ({"rope_scaling": {"rope_type": ["llama3"]}}, "rope_type is a list"),
        ({"rope_scaling": "linear"}, "rope_scaling: must be a mapping"),
        ({"rope_scaling": {"type": "linear"}}, "factor must be a positive number, not null"),
        (
            {"rope_scaling": {"type": "linear", "factor": -1.0}},
            "factor must be a positive number, not -1.0",
        ),
        (
            {"rope_scaling": {"type": "llama3", **LLAMA3, "low_freq_factor": 4.0}},
            "low_freq_factor (4.0) must be less than high_freq_factor (4.0)",
        ),
        (
            {"rope_scaling": {"type": "llama3", **LLAMA3, "high_freq_factor": None}},
            "high_freq_factor must be a positive number, not null",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor must be 1, not 0.5"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor must be 1",
        ),
        ({"use_sliding_window": True, "sliding_window": 16}, "sliding_window must be null, not 16"),
        ({"model_type": "mistral"}, "sliding_window must be null, not 4096"),
        ({"hidden_size": 40}, "hidden_size must be a multiple of 16, not 40"),
        ({"head_dim": 17, "num_attention_heads": 16, "num_key_value_heads": 16}, "must be even"),
        ({"rms_norm_eps": 0.0}, "rms_norm_eps: must be greater than 0"),
        ({"rope_theta": "big"}, "rope_theta: must be a number"),
    ],
    ids=str,
)
def test_a_model_that_the_engine_does_not_compute_is_refused(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    write_checkpoint(tmp_path)
    edit_json(tmp_path / "config.json", **fields)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{tmp_path / 'config.json'}: ")
    assert said in sentence


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path / 'config.json'}: cannot be read")


# --- tensors -------------------------------------------------------------------------------


def replaced(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: change(tensors[name]).contiguous()})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(Q), f"{Q} is missing"),
        (lambda tensors: tensors.pop("model.norm.weight"), "model.norm.weight is missing"),
        (lambda tensors: tensors.pop("lm_head.weight"), "lm_head.weight is missing"),
        (replaced(Q, lambda each: each[:-1]), f"{Q} has shape [63, 32], not [64, 32]"),
        (replaced(Q, lambda each: each.T), f"{Q} has shape [32, 64], not [64, 32]"),
        (replaced(Q, lambda each: each.double()), f"{Q} is of type F64, but only F32, F16, BF16"),
        (replaced(Q, lambda each: each.to(torch.int8)), f"{Q} is of type I8"),
        (replaced(Q, lambda each: each * torch.nan), f"{Q} holds NaN or infinity"),
        (replaced("model.norm.weight", lambda each: each / 0), "norm.weight holds NaN or infinity"),
        (
            lambda tensors: tensors.update({"model.layers.2.mlp.up_proj.weight": torch.ones(1)}),
            "model.layers.2.mlp.up_proj.weight is no tensor of the model in its config.json",
        ),
        (
            lambda tensors: tensors.update({"model.layers.0.self_attn.o_proj.bias": torch.ones(1)}),
            "model.layers.0.self_attn.o_proj.bias is no tensor",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_wrong_tensor_is_named_with_its_file(
    tmp_path: Path, change: Callable[[Tensors], Any], said: str
) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path / "model.safetensors", change)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{tmp_path / 'model.safetensors'}: ")
    assert said in sentence


def test_a_weight_that_a_narrower_type_cannot_hold_is_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    edit_tensors(tmp_path / "model.safetensors", replaced(Q, lambda each: each * 1e6))
    assert load_checkpoint(tmp_path, torch.bfloat16, CPU).trained
    with pytest.raises(UserError, match=re.escape(f"{Q} holds NaN or infinity as float16")):
        load_checkpoint(tmp_path, torch.float16, CPU)


def test_biases_are_read_where_the_family_has_them_and_refused_elsewhere(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    edit_json(tmp_path / "config.json", model_type="llama")
    assert re.search(r"model\.layers\.\d\.self_attn\..*bias is no tensor", refusal(tmp_path))


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int) -> None:
    write_checkpoint(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(tmp_path).startswith(f"{path}: is truncated or no safetensors file")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_not_read(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    assert refusal(tmp_path).startswith(f"{tmp_path / name}: is a pickle")


def index_of(folder: Path) -> Path:
    return folder / "model.safetensors.index.json"


def test_a_missing_or_truncated_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    shard = tmp_path / "part-1.safetensors"
    shard.write_bytes(shard.read_bytes()[:-3])
    assert refusal(tmp_path).startswith(f"{shard}: is truncated")
    shard.unlink()
    assert refusal(tmp_path).lower().startswith(f"{shard}: cannot be read: no such file")


def test_a_tensor_in_no_shard_or_in_two_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    first, second = (tmp_path / f"part-{each}.safetensors" for each in (0, 1))
    names = list(load_file(first))
    edit_tensors(second, lambda tensors: tensors.update({names[0]: torch.ones(1)}))
    assert f"{names[0]} is in part-0.safetensors as well" in refusal(tmp_path)
    edit_tensors(second, lambda tensors: tensors.pop(names[0]))
    edit_tensors(first, lambda tensors: tensors.pop(names[0]))
    assert refusal(tmp_path) == f"{index_of(tmp_path)}: {names[0]} is missing"


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        (None, "weight_map must map tensors to files"),
        ({}, "weight_map must map tensors to files"),
        ({"a": "../outside.safetensors"}, 'must be a file beside it, not "../outside.safetensors"'),
        ({"a": "/etc/passwd"}, "must be a file beside it"),
        ({"a": 3}, "must be a file beside it, not 3"),
        ({"a": "pytorch_model-1.bin"}, "only safetensors files are read"),
    ],
    ids=str,
)
def test_an_index_that_names_no_shards_beside_it_is_refused(
    tmp_path: Path, shards: object, said: str
) -> None:
    write_shards(tmp_path)
    edit_json(index_of(tmp_path), weight_map=shards)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{index_of(tmp_path)}: ")
    assert said in sentence


def test_shards_without_an_index_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path)
    index_of(tmp_path).unlink()
    assert "part-0.safetensors: is neither model.safetensors nor named" in refusal(tmp_path)


def test_an_empty_file_has_no_tensor(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    save_file({}, tmp_path / "model.safetensors")
    assert "model.embed_tokens.weight is missing" in refusal(tmp_path)
