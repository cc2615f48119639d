"""Adapters on disk are as PEFT writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kernels.lora_stream import pack_adapter
from kernels.shapes import MODULES
from simlora.engine.adapter_files import read_adapter, write_adapter
from simlora.engine.random_adapter import random_adapter
from tests.unit.engine.serving import TINY, make_adapter

PARTIAL = make_adapter(TINY, [3, 0] * len(MODULES), seed=1)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    write_adapter(path, PARTIAL, torch.float32)
    read = read_adapter(path, scale=0.25)
    assert read.keys() == PARTIAL.keys()
    for at, module in read.items():
        assert torch.equal(module.a, PARTIAL[at].a)
        assert torch.equal(module.b, PARTIAL[at].b)
        assert module.scale == 0.25


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_matrices_are_kept_as_the_type_asked_for(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "adapter_model.safetensors"
    adapter = random_adapter(TINY, 4)
    write_adapter(path, adapter, dtype)
    read = read_adapter(path, scale=2.0)
    for at, module in read.items():
        assert torch.equal(module.a, adapter[at].a.to(dtype))
        assert torch.equal(module.b, adapter[at].b.to(dtype))
    # Which is what the pool would have made of them anyway.
    packed = pack_adapter(TINY, adapter, dtype)
    assert torch.equal(pack_adapter(TINY, read, dtype).pages, packed.pages)


def test_names_are_those_of_peft(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    write_adapter(path, random_adapter(TINY, 4, modules=("q_proj", "down_proj")), torch.float32)
    hidden, inter = TINY.hidden_size, TINY.intermediate_size
    layers = "base_model.model.model.layers"
    assert {name: tuple(tensor.shape) for name, tensor in load_file(path).items()} == {
        f"{layers}.{layer}.{module}.{matrix}.weight": shape
        for layer in range(TINY.num_hidden_layers)
        for module, matrix, shape in (
            ("self_attn.q_proj", "lora_A", (4, hidden)),
            ("self_attn.q_proj", "lora_B", (TINY.q_dim, 4)),
            ("mlp.down_proj", "lora_A", (4, inter)),
            ("mlp.down_proj", "lora_B", (hidden, 4)),
        )
    }


def test_every_module_is_written_to_its_block_of_the_layer(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    write_adapter(path, random_adapter(TINY, 1), torch.float32)
    blocks = {tuple(name.split(".")[-4:-2]) for name in load_file(path)}
    attention = [("self_attn", f"{name}_proj") for name in "qkvo"]
    assert blocks == {*attention, *(("mlp", f"{name}_proj") for name in ("gate", "up", "down"))}


def test_layers_of_two_digits_are_read(tmp_path: Path) -> None:
    path = tmp_path / "adapter_model.safetensors"
    name = "base_model.model.model.layers.31.mlp.up_proj"
    a, b = torch.ones(2, 16), torch.zeros(32, 2)
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, path)
    ((at, module),) = read_adapter(path, scale=1.0).items()
    assert at == (31, "up_proj")
    assert torch.equal(module.a, a)
    assert torch.equal(module.b, b)
