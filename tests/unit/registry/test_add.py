"""What goes into a registry is a whole, sound adapter with a true record, or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.registry.add import Outcome
from simlora.registry.base_model import BaseModel
from simlora.registry.record import read_record
from tests.unit.registry.fleet import (
    WEIGHTS,
    House,
    Tensors,
    as_bf16,
    edit_json,
    edit_tensors,
    matrices,
    tensor,
    tree,
    write_adapter,
)

A, B = tensor(1, "down_proj", "A"), tensor(1, "down_proj", "B")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def refusal(house: House, **how: Any) -> str:
    """What `add` says; it must leave nothing behind."""
    before = tree(house.folder)
    with pytest.raises(UserError) as caught:
        house.add(**how)
    assert tree(house.folder) == before
    said = str(caught.value)
    assert "\n" not in said
    assert ".unfinished" not in said
    return said


def test_the_record_tells_what_files_and_caller_say(house: House) -> None:
    record, outcome = house.add(
        retention_policy={"until": date(2027, 1, 31)},
        compliance_flags=["hipaa"],
        training_data_hash="0" * 64,
    )
    assert outcome is Outcome.ADDED
    config, weights = (house.adapter / "adapter_config.json", house.adapter / WEIGHTS)
    assert (house.stored / "adapter_config.json").read_bytes() == config.read_bytes()
    assert (house.stored / WEIGHTS).read_bytes() == weights.read_bytes()
    assert read_record(house.stored / "record.json") == record
    written = json.loads((house.stored / "record.json").read_text())
    assert len(written.pop("signature")) == 128
    assert written == {
        "format": 1,
        "adapter_id": "support",
        "tenant": "acme",
        "version": "v1",
        "base_model_name": "somebody/base",
        "base_model_hash": house.base.sha256,
        "tokenizer_hash": sha256(house.base_folder / "tokenizer.json"),
        "rank": 4,
        "target_modules": ["q_proj", "down_proj"],
        "alpha": 8.0,
        "file_sha256": sha256(weights),
        "config_sha256": sha256(config),
        "trained_at": "2026-05-01T12:00:00Z",
        "promoted_at": "2026-05-02T00:00:00Z",
        "eval_scores": {"rouge_l": 0.41},
        "signed_by": "ops",
        "retention_policy": {"until": "2027-01-31"},
        "compliance_flags": ["hipaa"],
        "training_data_hash": "0" * 64,
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_rank_is_the_highest_of_the_modules(house: House) -> None:
    tensors = matrices(4)
    for layer in range(2):
        a, b = tensor(layer, "q_proj", "A"), tensor(layer, "q_proj", "B")
        tensors[a], tensors[b] = np.ones((6, 32), np.float32), np.ones((64, 6), np.float32)
    edit_json(house.adapter / "adapter_config.json", rank_pattern={"q_proj": 6})
    edit_tensors(house.adapter, lambda old: old.update(tensors))
    assert house.add()[0].rank == 6


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_matrices_may_have_16_bits(house: House, half: str) -> None:
    if half == "bf16":
        (house.adapter / WEIGHTS).write_bytes(as_bf16(matrices()))
    else:
        edit_tensors(
            house.adapter,
            lambda tensors: tensors.update(
                {name: each.astype(np.float16) for name, each in tensors.items()}
            ),
        )
    house.add()
    assert house.load() == house.stored


def test_a_base_model_may_be_told_by_its_hash(house: House) -> None:
    record, _ = house.add(base=BaseModel("a" * 64))
    assert (record.base_model_hash, record.tokenizer_hash) == ("a" * 64, None)


def test_the_source_may_be_links_as_in_a_download_cache(house: House) -> None:
    blobs = house.path / "blobs"
    house.adapter.rename(blobs)
    house.adapter.mkdir()
    for path in blobs.iterdir():
        (house.adapter / path.name).symlink_to(path)
    house.add()
    assert not any(path.is_symlink() for path in house.stored.iterdir())
    assert house.load() == house.stored


# --- what is refused -----------------------------------------------------------------------


def put(name: str, change: Callable[[Any], Any]) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: np.ascontiguousarray(change(tensors[name]))})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(A), f"{A} is missing"),
        (put(A, lambda each: each[:3]), f"{A} has shape [3, 48], not [4, 48]"),
        (put(A, lambda each: each[:, :32]), f"{A} has shape [4, 32], not [4, 48]"),
        (put(B, lambda each: each.T), f"{B} has shape [4, 32], not [32, 4]"),
        (put(B, lambda each: each[0, 0]), f"{B} is no matrix"),
        (put(B, lambda each: each.astype(np.float64)), f"{B} is of type F64"),
        (put(A, lambda each: each * np.nan), f"{A} holds NaN or infinity"),
        (put(B, lambda each: each + np.inf), f"{B} holds NaN or infinity"),
        (lambda tensors: tensors.update(x=np.ones((2, 2))), "x is none of the matrices"),
        (lambda tensors: tensors.clear(), "is missing"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_wrong_tensor_is_named_with_the_file_given(
    house: House, change: Callable[[Tensors], object], said: str
) -> None:
    edit_tensors(house.adapter, change)
    sentence = refusal(house)
    assert sentence.startswith(f"{house.adapter / WEIGHTS}: ")
    assert said in sentence


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.clear(), "has no tensor of a layer"),
        (
            lambda tensors: tensors.update({A.replace(".1.", ".99999999."): tensors[A]}),
            "has a tensor of layer 99999999, more than any model",
        ),
        (put(A, lambda each: each[:, :32]), f"{A} has shape [4, 32], not [4, 48]"),
        (lambda tensors: (tensors.pop(A), tensors.pop(B)), f"{A} is missing"),
    ],
    ids=["empty", "many-layers", "width", "missing"],
)
def test_tensors_have_to_fit_each_other_where_the_base_model_is_a_hash_only(
    house: House, change: Callable[[Tensors], object], said: str
) -> None:
    edit_tensors(house.adapter, change)
    assert said in refusal(house, base=BaseModel("a" * 64))


def test_nan_in_bf16_is_seen(house: House) -> None:
    tensors = matrices()
    tensors[A][0, 0] = np.nan
    (house.adapter / WEIGHTS).write_bytes(as_bf16(tensors))
    assert f"{A} holds NaN or infinity" in refusal(house)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(house: House, kept: int) -> None:
    path = house.adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(house).startswith(f"{path}: is truncated or no safetensors file")


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_pickles_are_refused(house: House, name: str) -> None:
    (house.adapter / WEIGHTS).rename(house.adapter / name)
    assert refusal(house).startswith(f"{house.adapter / name}: is a pickle")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"r": 5}, "has shape [4, 32], not [5, 32]"),
        ({"use_dora": True}, "DoRA is not supported"),
        ({"target_modules": ["q_proj"]}, "is none of the matrices"),
        ({"peft_type": "IA3"}, "peft_type"),
    ],
    ids=str,
)
def test_a_config_that_the_engine_lacks_or_tensors_do_not_fit_is_refused(
    house: House, fields: dict[str, Any], said: str
) -> None:
    edit_json(house.adapter / "adapter_config.json", **fields)
    assert said in refusal(house)


def test_missing_files_are_named(house: House) -> None:
    (house.adapter / WEIGHTS).unlink()
    assert refusal(house) == f"{house.adapter / WEIGHTS}: cannot be read: No such file or directory"
    assert refusal(house, source=house.path / "none").endswith("is no folder with an adapter")


@pytest.mark.parametrize(
    "name", ["../x", "..", ".", "", "/etc", "a/b", "a\\b", ".hidden", "x\n", "x" * 65, "a\0b"]
)
@pytest.mark.parametrize("field", ["adapter_id", "version", "tenant"])
def test_a_name_that_is_a_path_is_refused(house: House, field: str, name: str) -> None:
    sentence = refusal(house, **{field: name})
    assert sentence.startswith(f"{field}: must ")


def test_the_folder_of_keys_is_no_adapter(house: House) -> None:
    assert "folder of keys" in refusal(house, adapter_id="trusted")
    assert "folder of keys" in refusal(house, adapter_id="Trusted")


@pytest.mark.parametrize("level", ["adapter", "version", "dangling"])
def test_nothing_is_written_through_a_link(house: House, level: str) -> None:
    outside = house.path / "outside"
    if level != "dangling":
        outside.mkdir()
    if level == "adapter":
        (house.folder / "support").symlink_to(outside)
    else:
        (house.folder / "support").mkdir()
        house.stored.symlink_to(outside)
    assert "is a link or a file" in refusal(house)
    assert not outside.exists() or not list(outside.iterdir())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"eval_scores": {"loss": float("nan")}}, "eval_scores.loss: must be a finite number"),
        ({"training_data_hash": "A" * 64}, "training_data_hash: must be 64 hexadecimal digits"),
        ({"tokenizer_hash": "0" * 63}, "tokenizer_hash: must be 64 hexadecimal digits"),
        ({"compliance_flags": ["two words"]}, "compliance_flags.0: must be made of letters"),
        ({"trained_at": datetime(2026, 5, 1)}, "trained_at: "),
        ({"unheard": 1}, "unheard: unknown field"),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(house: House, fields: dict[str, Any], said: str) -> None:
    assert said in refusal(house, **fields)


# --- what is there already -----------------------------------------------------------------


def test_the_same_again_changes_nothing(house: House) -> None:
    house.add()
    before = tree(house.folder)
    assert house.add()[1] is Outcome.UNCHANGED
    assert tree(house.folder) == before


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json"])
def test_other_bytes_under_the_same_version_are_refused(house: House, name: str) -> None:
    house.add()
    other = write_adapter(house.path / "other", seed=1)
    if name != WEIGHTS:
        shutil.copy(house.adapter / WEIGHTS, other / WEIGHTS)
        edit_json(other / name, lora_dropout=0.1)
    assert f"is there already with another {name}" in refusal(house, source=other)
    assert house.load() == house.stored
    house.add(other, version="v2")
    assert [str(each) for each in house.registry.entries()] == ["support@v1", "support@v2"]


def test_a_version_can_be_promoted_later(house: House) -> None:
    house.add(promoted_at=None)
    moment = datetime(2026, 6, 1, tzinfo=UTC)
    assert house.add(promoted_at=moment)[1] is Outcome.CHANGED
    assert read_record(house.stored / "record.json").promoted_at == moment
    assert house.load() == house.stored


def test_a_version_keeps_its_tenant_and_base_model(house: House) -> None:
    house.add()
    assert "tenant is acme and cannot become other" in refusal(house, tenant="other")
    assert "base_model_hash is" in refusal(house, base=BaseModel("a" * 64))


def test_what_was_signed_stays_signed(house: House) -> None:
    house.add()
    assert "its record is signed by ops" in refusal(house, key=None)
