"""An audit names what is wrong or unlike the rest, and nothing else."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.registry.adapter_files import read_adapter
from simlora.registry.audit import Finding, audit
from simlora.registry.base_model import BaseModel
from simlora.registry.norms import LEAST_FLEET, outliers, update_norms
from tests.unit.registry.fleet import (
    WEIGHTS,
    House,
    as_bf16,
    edit_tensors,
    matrices,
    tensor,
    write_adapter,
)

TODAY = date(2026, 11, 21)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def fill(house: House, count: int) -> None:
    """Adapters of several ranks, whose norms differ as those of real tenants do."""
    generator = np.random.default_rng(7)
    for number in range(count):
        size = float(np.exp(generator.normal(0.0, 0.4)))
        rank = (2, 4, 8)[number % 3]
        source = write_adapter(house.path / str(number), rank, seed=number, size=size)
        house.add(source, adapter_id=f"a{number:02}")


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> House:
    house = House(tmp_path_factory.mktemp("thirty"))
    fill(house, 30)
    return house


@pytest.fixture
def fleet(house: House, thirty: House) -> House:
    """A house with thirty adapters, to be changed."""
    shutil.copytree(thirty.folder, house.folder, dirs_exist_ok=True)
    house.keys = thirty.keys
    return house


def look(house: House, **how: Any) -> list[Finding]:
    return audit(house.registry, TODAY, **how)


def told(house: House, **how: Any) -> list[tuple[str, str]]:
    return [(each.adapter_id, each.kind) for each in look(house, **how)]


# --- norms ---------------------------------------------------------------------------------


def test_a_norm_is_that_of_the_scaled_update(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path, 4, alpha_pattern={"q_proj": 2})
    tensors = matrices(4)
    for (layer, module), norm in update_norms(read_adapter(folder, None)).items():
        a, b = (tensors[tensor(layer, module, each)].astype(np.float64) for each in "AB")
        scale = 2 / 4 if module == "q_proj" else 8 / 4
        assert norm == pytest.approx(scale * np.linalg.norm(b @ a), rel=1e-6)


def test_norms_of_bf16_are_those_of_its_values(tmp_path: Path) -> None:
    exact = update_norms(read_adapter(write_adapter(tmp_path), None))
    (tmp_path / WEIGHTS).write_bytes(as_bf16(matrices()))
    for at, norm in update_norms(read_adapter(tmp_path, None)).items():
        assert norm == pytest.approx(exact[at], rel=0.02)  # cut to 8 bits, twice
        assert norm < exact[at]


def test_a_sound_fleet_has_no_outlier(thirty: House) -> None:
    assert look(thirty) == []


def times(factor: float, *names: str) -> Callable[[Any], object]:
    """Tensors whose names have one of these in them, larger."""
    return lambda tensors: tensors.update(
        {
            name: each * np.float32(factor)
            for name, each in tensors.items()
            if any(part in name for part in names)
        }
    )


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (times(40, "lora_B"), " and 3 more: norm "),
        (times(1 / 40, "lora_B"), " and 3 more: norm "),
        (times(40, tensor(1, "q_proj", "A")), "layer 1 q_proj: norm "),
    ],
    ids=["all-large", "all-small", "one-module"],
)
def test_a_planted_outlier_is_found_among_thirty_and_no_other_is(
    fleet: House, plant: Callable[[Any], object], said: str
) -> None:
    edit_tensors(fleet.adapter, plant)
    fleet.add(adapter_id="planted")
    (found,) = look(fleet)
    assert (found.adapter_id, found.kind) == ("planted", "norm")
    assert said in found.detail


def test_an_outlier_is_one_above_the_limit_only() -> None:
    fleet = [{(0, "q_proj"): math.exp(0.3 * (-1) ** n)} for n in range(20)]
    fleet.append({(0, "q_proj"): math.exp(0.3 + 6 * 1.4826 * 0.3)})
    (only,) = outliers(fleet, 0.0)[-1:]
    assert only.adapter == 20
    assert outliers(fleet, only.z) == []
    assert [each.adapter for each in outliers(fleet, only.z * 0.999)] == [20]


def test_a_fleet_that_is_alike_to_a_percent_has_no_outlier_of_a_third() -> None:
    fleet = [{(0, "q_proj"): 1.0 + 0.01 * (n % 3)} for n in range(20)]
    assert outliers([*fleet, {(0, "q_proj"): 1.4}]) == []
    assert [each.adapter for each in outliers([*fleet, {(0, "q_proj"): 2.0}])] == [20]


def test_the_worst_module_of_an_adapter_is_named() -> None:
    modules = [(0, "q_proj"), (1, "q_proj"), (1, "down_proj"), (2, "q_proj")]
    fleet = [dict.fromkeys(modules, 1.0 + 0.1 * (n % 3)) for n in range(20)]
    odd = dict(zip(modules, (20.0, 1.1, 1 / 300, 30.0), strict=True))
    (found,) = outliers([*fleet, odd])
    assert (found.adapter, found.layer, found.module, found.modules) == (20, 1, "down_proj", 3)
    assert (found.norm, found.median) == (1 / 300, pytest.approx(1.1))
    assert found.z < 0


def test_few_adapters_are_no_fleet() -> None:
    alike = [{(0, "q_proj"): 1.0}] * (LEAST_FLEET - 2)
    assert outliers([*alike, {(0, "q_proj"): 1e6}]) == []
    assert [each.adapter for each in outliers([{(0, "q_proj"): 1e6}, *alike, alike[0]])] == [0]


def test_only_adapters_of_one_base_model_are_compared(fleet: House) -> None:
    source = write_adapter(fleet.path / "large", size=40.0)
    fleet.add(source, adapter_id="elsewhere", base=BaseModel("b" * 64))
    assert look(fleet) == []
    fleet.add(source, adapter_id="here")
    assert told(fleet) == [("here", "norm")]


def test_an_adapter_of_zeros_is_told_of(fleet: House) -> None:
    fleet.add(write_adapter(fleet.path / "zero", size=0.0), adapter_id="zero")
    assert told(fleet) == [("zero", "zero")]


def test_a_module_of_zeros_is_none_that_was_not_trained(house: House) -> None:
    edit_tensors(house.adapter, times(0.0, tensor(1, "q_proj", "B")))
    house.add()
    assert look(house) == []


# --- damage --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("half", [False, True])
def test_values_that_are_not_finite_are_told_of(house: House, value: float, half: bool) -> None:
    tensors = matrices()
    name = tensor(1, "q_proj", "B")
    tensors[name][3, 1] = value
    house.add()
    if half:
        (house.stored / WEIGHTS).write_bytes(as_bf16(tensors))
    else:
        edit_tensors(house.stored, lambda old: old.update(tensors))
    (found,) = look(house)
    assert (found.adapter_id, found.kind) == ("support", "damaged")
    assert found.detail == f"{house.stored / WEIGHTS}: {name} holds NaN or infinity"


@pytest.mark.parametrize("name", [WEIGHTS, "record.json", "adapter_config.json"])
def test_a_damaged_file_does_not_keep_the_others_from_being_judged(fleet: House, name: str) -> None:
    fleet.add()
    path = fleet.stored / name
    path.write_bytes(path.read_bytes()[:50])
    fleet.add(write_adapter(fleet.path / "large", size=40.0), adapter_id="large")
    assert told(fleet) == [("large", "norm"), ("support", "damaged")]


# --- records -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind", "detail"),
    [
        ({"promoted_at": None}, "not_promoted", "was never promoted"),
        ({"key": None}, "unsigned", "has no signature"),
        (
            {"retention_policy": {"until": date(2026, 11, 20)}},
            "retention",
            "was to be kept until 2026-11-20 only",
        ),
    ],
    ids=["not-promoted", "unsigned", "expired"],
)
def test_what_was_forgotten_is_told_of(
    house: House, fields: dict[str, Any], kind: str, detail: str
) -> None:
    house.add(adapter_id="good")
    house.add(**fields)
    assert look(house) == [Finding("support", "v1", kind, detail)]


def test_an_adapter_may_be_kept_to_the_end_of_its_last_day(house: House) -> None:
    house.add(retention_policy={"until": TODAY})
    assert look(house) == []


def test_high_ranks_are_told_of(house: House) -> None:
    house.add()
    assert look(house, max_rank=4) == []
    assert look(house, max_rank=3) == [Finding("support", "v1", "rank", "rank 4 is above 3")]


def test_progress_counts_the_versions(house: House) -> None:
    fill(house, 3)
    seen: list[int] = []
    look(house, progress=seen.append)
    assert seen == [1, 2, 3]


def test_a_pipe_does_not_block_an_audit(house: House) -> None:
    house.add()
    (house.stored / WEIGHTS).unlink()
    os.mkfifo(house.stored / WEIGHTS)
    assert told(house) == [("support", "damaged")]
    with pytest.raises(UserError, match="is no plain file"):
        house.load()
