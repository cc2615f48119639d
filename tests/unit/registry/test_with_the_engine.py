"""The registry reads adapters without torch as the engine reads them with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernels.shapes import MODULES
from simlora.engine import adapter_config
from simlora.engine.adapters import load_adapter
from simlora.engine.shape import shape_of
from simlora.registry.adapter_files import read_adapter
from simlora.registry.norms import update_norms
from tests.unit.registry.fleet import WEIGHTS, House, as_bf16, matrices


def test_modules_are_in_the_order_of_the_kernels() -> None:
    assert adapter_config.MODULES == MODULES


@pytest.mark.parametrize("half", [False, True])
def test_the_engine_loads_what_the_registry_hands_out(tmp_path: Path, half: bool) -> None:
    house = House(tmp_path)
    if half:
        (house.adapter / WEIGHTS).write_bytes(as_bf16(matrices()))
    record, _ = house.add()
    assert house.base.spec is not None
    shape = shape_of(house.base.spec)
    loaded = load_adapter(house.load(), shape, torch.float32)
    assert (loaded.rank, list(loaded.modules)) == (record.rank, record.target_modules)
    norms = update_norms(read_adapter(house.stored, house.base.spec))
    assert loaded.weights.keys() == norms.keys()
    for at, module in loaded.weights.items():
        assert norms[at] == pytest.approx(float(torch.linalg.norm(module.b @ module.a)), rel=1e-5)
