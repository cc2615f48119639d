"""PEFT adapters are read as PEFT means them, or refused with a sentence that says why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.lora_stream import pack_adapter
from kernels.shapes import MODULES
from simlora.engine.adapters import load_adapter, save_adapter
from simlora.engine.random_adapter import random_adapter
from simlora.errors import UserError
from tests.unit.engine.checkpoint_files import (
    LORA,
    SHAPE,
    Tensors,
    edit_json,
    edit_tensors,
    write_lora,
)
from tests.unit.engine.serving import TINY, make_adapter

PARTIAL = make_adapter(TINY, [3, 0] * len(MODULES), seed=1)
PREFIX = "base_model.model.model.layers"
DOWN = f"{PREFIX}.1.mlp.down_proj"


def refusal(folder: Path, **asked: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_adapter(folder, SHAPE, torch.float32, **asked)
    said = str(caught.value)
    assert "\n" not in said
    return said


# --- what is read --------------------------------------------------------------------------


def test_an_adapter_is_its_matrices_with_the_scale_in_b(tmp_path: Path) -> None:
    written = write_lora(tmp_path)
    loaded = load_adapter(tmp_path, SHAPE, torch.float32)
    assert (loaded.rank, loaded.modules) == (4, ("q_proj", "down_proj"))
    assert loaded.weights.keys() == {
        (layer, name) for layer in (0, 1) for name in ("q_proj", "down_proj")
    }
    for (layer, name), module in loaded.weights.items():
        block = "self_attn" if name == "q_proj" else "mlp"
        prefix = f"{PREFIX}.{layer}.{block}.{name}"
        assert module.scale == 1.0
        assert torch.equal(module.a, written[f"{prefix}.lora_A.weight"])
        assert torch.equal(module.b, written[f"{prefix}.lora_B.weight"] * (8 / 4))


def test_matrices_of_lower_rank_are_filled_up_with_zeros(tmp_path: Path) -> None:
    save_adapter(tmp_path, {**PARTIAL, **make_adapter(TINY, [0, 5] + [0] * 12, 2)}, torch.float32)
    loaded = load_adapter(tmp_path, TINY, torch.float32)
    assert loaded.rank == 5
    module = loaded.weights[0, "q_proj"]
    assert tuple(module.a.shape) == (5, TINY.hidden_size)
    assert torch.equal(module.a[:3], PARTIAL[0, "q_proj"].a)
    assert not module.a[3:].any()
    assert not module.b[:, 3:].any()
    # Whatever the file leaves out of a layer is there as zeros.
    assert loaded.weights.keys() == {
        (layer, name) for layer in range(TINY.num_hidden_layers) for name in loaded.modules
    }
    pages = len(pack_adapter(TINY, loaded.weights, torch.float32).pages)
    elements = 2 * 5 * sum(sum(TINY.linear_shapes[each]) for each in loaded.modules)
    assert pages == -(-elements // TINY.kv_dim)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    save_adapter(tmp_path, PARTIAL, torch.float32)
    loaded = load_adapter(tmp_path, TINY, torch.float32, max_rank=3)
    assert loaded.rank == 3
    for at, module in loaded.weights.items():
        if at in PARTIAL:
            assert torch.equal(module.a, PARTIAL[at].a)
            torch.testing.assert_close(module.b, PARTIAL[at].b * PARTIAL[at].scale)
        else:
            assert not module.a.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matrices_are_of_the_type_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    adapter = random_adapter(TINY, 4)
    save_adapter(tmp_path, adapter, dtype)
    for at, module in load_adapter(tmp_path, TINY, dtype).weights.items():
        assert torch.equal(module.a, adapter[at].a.to(dtype))
        assert torch.equal(module.b, 2 * adapter[at].b.to(dtype))  # exact: a power of two


def test_names_are_those_of_peft(tmp_path: Path) -> None:
    modules = ("q_proj", "down_proj")
    save_adapter(tmp_path, random_adapter(TINY, 4, modules=modules), torch.float32)
    hidden, inter = TINY.hidden_size, TINY.intermediate_size
    written = load_file(tmp_path / "adapter_model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in written.items()} == {
        f"{PREFIX}.{layer}.{module}.{matrix}.weight": shape
        for layer in range(TINY.num_hidden_layers)
        for module, matrix, shape in (
            ("self_attn.q_proj", "lora_A", (4, hidden)),
            ("self_attn.q_proj", "lora_B", (TINY.q_dim, 4)),
            ("mlp.down_proj", "lora_A", (4, inter)),
            ("mlp.down_proj", "lora_B", (hidden, 4)),
        )
    }


def test_what_only_training_reads_is_passed_over(tmp_path: Path) -> None:
    write_lora(tmp_path)
    edit_json(
        tmp_path / "adapter_config.json",
        lora_dropout=0.05,
        inference_mode=True,
        init_lora_weights="gaussian",
        peft_version="0.21.2",
        use_dora=False,
        modules_to_save=[],
        something_new=False,
    )
    assert load_adapter(tmp_path, SHAPE, torch.float32).rank == 4


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"peft_type": "IA3"}, 'peft_type: "IA3" is not known'),
        ({"peft_type": None}, "peft_type: is missing"),
        ({"task_type": "SEQ_CLS"}, 'task_type: "SEQ_CLS" is not known'),
        ({"use_dora": True}, "use_dora is true: DoRA is not supported"),
        ({"bias": "all"}, 'bias must be "none", not "all"'),
        ({"lora_bias": True}, "lora_bias is true: biases are not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is a list: modules that are trained"),
        ({"trainable_token_indices": [1]}, "trained embeddings are not supported"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "replicated layers are not supported"),
        ({"alora_invocation_tokens": [5]}, "activated LoRA is not supported"),
        ({"target_parameters": ["mlp.experts"]}, "only linear modules are supported"),
        ({"fan_in_fan_out": True}, "transposed weights are not supported"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights is "pissa", which changes the base'),
        ({"init_lora_weights": "olora"}, "which changes the base model's weights"),
        ({"something_new": 3}, "something_new: unknown field"),
        ({"r": 0}, "r: must be at least 1"),
        ({"r": "4"}, 'r: must be a whole number, not the text "4"'),
        ({"lora_alpha": -1}, "lora_alpha: must be at least 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha: "),
        ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj: must be at least 1"),
        ({"rank_pattern": {"(": 4}}, 'rank_pattern: "(" is no regular expression'),
        ({"alpha_pattern": {"*": 4}}, 'alpha_pattern: "*" is no regular expression'),
        (
            {"rank_pattern": {"(?i)q_proj": 4}},
            'rank_pattern: "(?i)q_proj" is no regular',
        ),
        ({"rank_pattern": {"(?=q)q_proj": 4}}, "which has no lookarounds, backreferences or large"),
        ({"alpha_pattern": {r"(.)\1": 4}}, "alpha_pattern: "),
        ({"target_modules": ".*(?<!v)_proj"}, "no regular expression of RE2's"),
        ({"target_modules": "(.{1000}){1000}"}, "no regular expression of RE2's"),
        ({"exclude_modules": "[[:alpha:]]"}, "no regular expression of RE2's"),  # other in Python
        ({"alpha_pattern": {"p{,2}roj": 4}}, "no regular expression of RE2's"),  # other in Python
        ({"target_modules": ".*\ud800"}, "no regular expression of RE2's"),
        ({"rank_pattern": {f"a{n}": 4 for n in range(1001)}}, "at most 1000 patterns, not 1001"),
        (
            {"rank_pattern": {f"a{n}.{{1000}}": 4 for n in range(120)}},
            "rank_pattern: its patterns are too large to be matched",
        ),
        ({"target_modules": None}, "target_modules: is missing"),
        ({"target_modules": "["}, 'target_modules: "[" is no regular expression'),
        ({"target_modules": "x" * 5000}, "target_modules: a pattern has at most 4000 characters"),
        ({"target_modules": "nothing"}, "target_modules: no module of the model is among them"),
        ({"target_modules": [*LORA["target_modules"], "lm_head"]}, '"lm_head" is none of the'),
        (
            {"target_modules": ["embed_tokens"]},
            '"embed_tokens" is none of the linear modules q_pro',
        ),
        ({"target_modules": ["q_proj", "fc1"]}, '"fc1" is none of the linear modules'),
        ({"target_modules": ".*(q_proj|lm_head)"}, '"lm_head" is none of the linear modules'),
        ({"target_modules": ".*tokens|.*q_proj"}, '"model.embed_tokens" is none of the linear'),
        ({"exclude_modules": ["q_proj", "down_proj"]}, "no module of the model is among them"),
        ({"layers_to_transform": [7]}, "no module of the model is among them"),
        ({"layers_pattern": "h"}, 'layers_pattern: must be "layers", not "h"'),
        (
            {"layers_to_transform": [1], "target_modules": ".*q_proj"},
            "layers_to_transform: needs a list of target_modules",
        ),
    ],
    ids=lambda each: ascii(each)[:60],
)
def test_an_adapter_that_the_engine_lacks_is_refused(
    tmp_path: Path, fields: dict[str, Any], said: str
) -> None:
    write_lora(tmp_path)
    edit_json(tmp_path / "adapter_config.json", **fields)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{tmp_path / 'adapter_config.json'}: ")
    assert said in sentence


def test_a_rank_that_the_engine_does_not_serve_is_refused(tmp_path: Path) -> None:
    write_lora(tmp_path)
    assert load_adapter(tmp_path, SHAPE, torch.float32, max_rank=4).rank == 4
    assert "rank 4 is more than 3" in refusal(tmp_path, max_rank=3)


A, B = f"{DOWN}.lora_A.weight", f"{DOWN}.lora_B.weight"


def put(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: change(tensors[name]).contiguous()})


def new(name: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.update({name: torch.ones(2, 2)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(A), f"{A} is missing"),
        (lambda tensors: tensors.pop(B), f"{B} is missing"),
        (put(A, lambda each: each[:3]), f"{A} has shape [3, 48], not [4, 48]"),
        (put(A, lambda each: each[:, :32]), f"{A} has shape [4, 32], not [4, 48]"),
        (put(B, lambda each: each.T), f"{B} has shape [4, 32], not [32, 4]"),
        (put(A, lambda each: each * torch.nan), f"{A} holds NaN or infinity as float32"),
        (put(B, lambda each: each / 0), f"{B} holds NaN or infinity as float32"),
        (put(B, lambda each: each.double()), f"{B} is of type F64"),
        (new("base_model.model.lm_head.weight"), "base_model.model.lm_head.weight is none of"),
        (new("base_model.model.model.embed_tokens.lora_embedding_A"), "lora_embedding_A is none"),
        (new(f"{DOWN}.lora_magnitude_vector"), "lora_magnitude_vector is none of the matrices"),
        (new(f"{PREFIX}.2.mlp.down_proj.lora_A.weight"), "layers.2.mlp.down_proj.lora_A.weight is"),
        (new(f"{PREFIX}.0.mlp.up_proj.lora_A.weight"), "up_proj.lora_A.weight is none of"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_wrong_tensor_is_named_with_its_file(
    tmp_path: Path, change: Callable[[Tensors], Any], said: str
) -> None:
    write_lora(tmp_path)
    edit_tensors(tmp_path / "adapter_model.safetensors", change)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{tmp_path / 'adapter_model.safetensors'}: ")
    assert said in sentence


def test_a_scale_that_makes_b_too_large_is_refused(tmp_path: Path) -> None:
    write_lora(tmp_path)
    edit_json(tmp_path / "adapter_config.json", lora_alpha=1e7)
    assert load_adapter(tmp_path, SHAPE, torch.bfloat16).rank == 4
    with pytest.raises(UserError, match=re.escape("lora_B.weight holds NaN or infinity as float1")):
        load_adapter(tmp_path, SHAPE, torch.float16)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_named(tmp_path: Path, kept: int) -> None:
    write_lora(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(tmp_path).startswith(f"{path}: is truncated or no safetensors file")


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_pickles_are_not_read(tmp_path: Path, name: str) -> None:
    write_lora(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / name)
    assert refusal(tmp_path).startswith(f"{tmp_path / name}: is a pickle")


def test_a_pickle_under_the_name_of_a_safetensors_file_is_not_read(tmp_path: Path) -> None:
    tensors = write_lora(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    torch.save(tensors, path)
    assert refusal(tmp_path).startswith(f"{path}: is truncated or no safetensors file")


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path / 'adapter_config.json'}: cannot be read")
    write_lora(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    path.unlink()
    assert refusal(tmp_path).lower().startswith(f"{path}: cannot be read: no such file")


@pytest.mark.parametrize(("content", "said"), [("{", "not valid JSON"), ("[]", "a JSON object")])
def test_a_config_that_is_no_object_is_refused(tmp_path: Path, content: str, said: str) -> None:
    write_lora(tmp_path)
    (tmp_path / "adapter_config.json").write_text(content)
    assert said in refusal(tmp_path)


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    """Not by its base's name, which may be anything, but by its matrices."""
    save_adapter(tmp_path, random_adapter(TINY, 4), torch.float32)
    assert re.search(r"lora_[AB]\.weight has shape \[.*, not \[", refusal(tmp_path))


def test_an_adapter_without_tensors_is_refused(tmp_path: Path) -> None:
    write_lora(tmp_path)
    save_file({}, tmp_path / "adapter_model.safetensors")
    assert "lora_A.weight is missing" in refusal(tmp_path)


def test_the_config_written_has_patterns_for_what_differs_alone(tmp_path: Path) -> None:
    save_adapter(tmp_path, random_adapter(TINY, 4, modules=("q_proj",)), torch.float32)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8.0)
    assert config["rank_pattern"] == config["alpha_pattern"] == {}
