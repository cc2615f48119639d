"""An adapter is handed to the engine only if it is the one that was signed, for this base model."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.registry.base_model import BaseModel
from simlora.registry.verify import problems
from tests.unit.registry.fleet import (
    WEIGHTS,
    House,
    edit_json,
    edit_tensors,
    tensor,
)

A = tensor(0, "q_proj", "A")


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    house.add()
    return house


def refusal(house: House, **asked: Any) -> str:
    with pytest.raises(UserError) as caught:
        house.load(**asked)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("support@v1: ")
    return said.removeprefix("support@v1: ")


def all_problems(house: House) -> list[str]:
    return list(problems(house.registry.entry("support", "v1"), house.registry.trusted))


def test_a_sound_adapter_is_handed_out_again_and_again(house: House) -> None:
    assert [house.load() for _ in range(3)] == [house.stored] * 3
    assert house.load(tokenizer_hash=None) == house.stored


def test_another_base_model_or_tokenizer_is_refused(house: House) -> None:
    assert refusal(house, base_model_hash="b" * 64) == (
        f"base_model_hash: the record has {house.base.sha256[:12]}…, but the base model has "
        "bbbbbbbbbbbb…"
    )
    assert refusal(house, tokenizer_hash="b" * 64).startswith("tokenizer_hash: the record has ")


def test_a_tokenizer_that_the_record_does_not_know_is_refused(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.add(tokenizer_hash=None)
    assert refusal(house).startswith("tokenizer_hash: the record has none, but the tokenizer has")


def test_what_is_refused_is_logged_as_an_error(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.load()
    assert not caplog.records
    said = refusal(house, base_model_hash="b" * 64)
    (logged,) = caplog.records
    assert (logged.name, logged.levelno) == ("simlora.registry", logging.ERROR)
    assert logged.getMessage() == f"support@v1 is refused: {said}"


# --- files ---------------------------------------------------------------------------------


def test_every_bit_of_the_weights_counts(house: House) -> None:
    path = house.stored / WEIGHTS
    good = path.read_bytes()
    for place in (0, 9, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bad)
        assert refusal(house).startswith("file_sha256: the record has ")
    path.write_bytes(good)
    assert house.load() == house.stored


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(house: House, kept: int) -> None:
    path = house.stored / WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(house).startswith("file_sha256: ")
    assert any("is truncated or no safetensors file" in each for each in all_problems(house))


def test_weights_changed_to_nan_are_refused(house: House) -> None:
    edit_tensors(house.stored, lambda tensors: tensors.update({A: tensors[A] * np.nan}))
    assert refusal(house).startswith("file_sha256: ")


def test_a_scale_changed_in_the_config_is_refused(house: House) -> None:
    """Also where no field of the record says anything of it."""
    edit_json(house.stored / "adapter_config.json", use_rslora=True)
    assert refusal(house).startswith("config_sha256: ")


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json", "record.json"])
def test_a_missing_file_is_named(house: House, name: str) -> None:
    (house.stored / name).unlink()
    assert refusal(house) == f"{house.stored / name}: cannot be read: No such file or directory"


@pytest.mark.parametrize("name", [WEIGHTS, "adapter_config.json", "record.json"])
def test_a_link_in_the_place_of_a_file_is_refused(house: House, name: str) -> None:
    (house.stored / name).rename(house.path / name)
    (house.stored / name).symlink_to(house.path / name)
    assert refusal(house) == f"{house.stored / name}: is no plain file"


def test_a_pipe_in_the_place_of_a_file_does_not_block(house: House) -> None:
    (house.stored / WEIGHTS).unlink()
    os.mkfifo(house.stored / WEIGHTS)
    assert refusal(house).endswith("is no plain file")
    assert all_problems(house) == [f"{house.stored / WEIGHTS}: is no plain file"]


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt", "notes.txt"])
def test_what_was_put_beside_the_files_is_refused(house: House, name: str) -> None:
    (house.stored / name).write_bytes(b"cos\nsystem\n")
    assert refusal(house) == f"{house.stored / name}: does not belong there"


@pytest.mark.parametrize("level", ["support", "support/v1"])
def test_a_linked_folder_is_refused(house: House, level: str) -> None:
    shutil.move(house.folder / level, house.path / "moved")
    (house.folder / level).symlink_to(house.path / "moved")
    with pytest.raises(UserError, match="is a link or a file"):
        house.load()
    assert house.registry.entries() == []
    (stray,) = house.registry.strays()
    assert stray.startswith(f"{house.folder / level}: is a link or a file")


@pytest.mark.parametrize("name", ["../x", "..", "support/v1", "/etc", "", ".x"])
def test_a_path_is_no_name(house: House, name: str) -> None:
    for names in ((name, "v1"), ("support", name)):
        with pytest.raises(UserError, match=r"^(adapter_id|version): must "):
            house.registry.checked(*names, base_model_hash=house.base.sha256)


def test_an_adapter_that_is_not_there_is_refused(house: House) -> None:
    with pytest.raises(UserError, match=r"v9/adapter_config\.json: cannot be read"):
        house.registry.checked("support", "v9", base_model_hash=house.base.sha256)


# --- the record ----------------------------------------------------------------------------

TAMPERED: dict[str, Any] = {
    "tenant": "other",
    "base_model_name": "another/base",
    "base_model_hash": "b" * 64,
    "tokenizer_hash": None,
    "rank": 5,
    "target_modules": ["q_proj"],
    "alpha": 9.0,
    "file_sha256": "b" * 64,
    "config_sha256": "b" * 64,
    "trained_at": "2026-05-01T12:00:01Z",
    "promoted_at": None,
    "eval_scores": {"rouge_l": 0.42},
    "signed_by": None,
    "retention_policy": {"until": "2099-01-01"},
    "compliance_flags": ["hipaa"],
    "training_data_hash": "b" * 64,
    "signature": "b" * 128,
}


def test_every_field_of_the_record_is_signed(house: House) -> None:
    path = house.stored / "record.json"
    good = path.read_bytes()
    fields = json.loads(good)
    # These three are held to the folder's name and to the one format there is.
    assert fields.keys() == TAMPERED.keys() | {"format", "adapter_id", "version"}
    for field, value in TAMPERED.items():
        assert fields[field] != value
        path.write_bytes(good)
        edit_json(path, **{field: value})
        assert refusal(house).startswith("signature: ")
    path.write_bytes(good)
    assert house.load() == house.stored


def test_a_record_of_another_adapter_is_refused_even_if_signed(house: House) -> None:
    house.add(adapter_id="billing", tenant="other")
    house.add(version="v2")
    for other in ("billing/v1", "support/v2"):
        shutil.copy(house.folder / other / "record.json", house.stored / "record.json")
        assert 'but the folder is that of "' in refusal(house)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not valid JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "is missing"),
        ('{"adapter_id": "../x"}', "adapter_id: must be made of letters"),
        ('{"format": 2}', "format: "),
        ('{"rank": "4"}', "rank: must be a whole number"),
        ('{"trained_at": "yesterday"}', "trained_at: must be a time such as"),
        ('{"trained_at": "0001-01-01T00:00+14:00"}', "trained_at: must lie within"),
        ('{"retention_policy": {"until": "soon"}}', "retention_policy.until: must be a date"),
        ('{"signature": "x"}', "signature: must be 128 hexadecimal digits"),
        ('{"signed_by": "../ops"}', "signed_by: must be made of letters"),
        ('{"eval_scores": {"loss": NaN}}', "eval_scores.loss: must be a finite number"),
        ('{"admin": true}', "admin: unknown field"),
    ],
)
def test_a_record_that_is_none_is_refused(house: House, content: str, said: str) -> None:
    path = house.stored / "record.json"
    fields = json.loads(path.read_text())
    if content.startswith('{"'):
        content = json.dumps(fields | json.loads(content))
    path.write_text(content)
    sentence = refusal(house)
    assert sentence.startswith(f"{path}:")
    assert said in sentence


# --- the record against config and tensors, where hashes and signature are right ----------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rank": 5}, "rank: the record has 5, but adapter_config.json has 4"),
        (
            {"target_modules": ["q_proj"]},
            "target_modules: the record has q_proj, but adapter_config.json has q_proj, down_proj",
        ),
        ({"alpha": 9.0}, "alpha: the record has 9, but adapter_config.json has 8"),
        (
            {"base_model_name": "another/base"},
            (
                'base_model_name: the record has "another/base", but adapter_config.json has '
                '"somebody/base"'
            ),
        ),
    ],
    ids=str,
)
def test_a_signed_record_has_to_be_true(house: House, fields: dict[str, Any], said: str) -> None:
    """Signing does not make a wrong figure right: the scheduler reckons with it."""
    house.add(version="v2", **fields)
    with pytest.raises(UserError) as caught:
        house.registry.checked("support", "v2", base_model_hash=house.base.sha256)
    assert str(caught.value) == f"support@v2: {said}"


def test_tensors_have_to_fit_the_base_model(tmp_path: Path) -> None:
    """Added with a hash only, it could not be known that a layer is missing."""
    house = House(tmp_path)
    edit_tensors(
        house.adapter,
        lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers.1." in name],
    )
    house.add(base=BaseModel(house.base.sha256))
    entry = house.registry.entry("support", "v1")
    assert list(problems(entry, house.registry.trusted)) == []
    told = problems(entry, house.registry.trusted, [BaseModel(house.base.sha256, house.base.spec)])
    (problem,) = told
    assert problem.startswith(f"{house.stored / WEIGHTS}: base_model.model.model.layers.1.")
    assert problem.endswith("is missing")
