"""The hash of a base model changes with whatever changes the model, and is not computed twice."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.registry import hashes
from simlora.registry.base_model import base_model
from simlora.registry.hashes import base_model_hash, file_sha256, user_cache
from tests.unit.registry.fleet import edit_json, write_base


def test_it_is_the_hash_of_what_sha256sum_prints(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    (folder / "second.safetensors").write_bytes(b"more")
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "README.md").write_text("does not count")
    command = "sha256sum config.json *.safetensors model.safetensors.index.json | LC_ALL=C sort -k2"
    printed = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, check=True)
    assert base_model_hash(folder) == hashlib.sha256(printed.stdout).hexdigest()


def test_it_is_the_same_elsewhere_and_through_links(tmp_path: Path) -> None:
    first, second = write_base(tmp_path / "a"), write_base(tmp_path / "b")
    linked = tmp_path / "c"
    linked.mkdir()
    for path in first.iterdir():
        (linked / path.name).symlink_to(path)
    same = base_model_hash(first)
    assert base_model_hash(second) == base_model_hash(linked) == same
    assert base_model_hash(first / "config.json") == same


def test_it_changes_with_weights_config_and_names(tmp_path: Path) -> None:
    found = [base_model_hash(write_base(tmp_path / "a"))]
    found.append(base_model_hash(write_base(tmp_path / "b", seed=1)))
    folder = write_base(tmp_path / "c")
    edit_json(folder / "config.json", rope_theta=500_000.0)
    found.append(base_model_hash(folder))
    folder = write_base(tmp_path / "d")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    found.append(base_model_hash(folder))
    assert len(set(found)) == 4


def test_weights_are_hashed_again_only_if_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = write_base(tmp_path / "base"), tmp_path / "cache.json"
    weights = folder / "model.safetensors"
    read: list[str] = []

    def reading(path: Path) -> str:
        read.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(hashes, "file_sha256", reading)
    before = base_model_hash(folder, cache)
    assert read == ["config.json", "model.safetensors"]
    assert base_model_hash(folder, cache) == before
    assert read[2:] == ["config.json"]
    # Other bytes of the same length, with the time of change set back.
    about, content = weights.stat(), bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert base_model_hash(folder, cache) != before
    assert base_model_hash(folder, cache) == base_model_hash(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', "\udcff"])
def test_a_cache_that_is_none_is_written_anew(tmp_path: Path, content: str) -> None:
    folder, cache = write_base(tmp_path / "base"), tmp_path / "cache.json"
    cache.write_bytes(content.encode(errors="surrogateescape"))
    assert base_model_hash(folder, cache) == base_model_hash(folder)
    assert "model.safetensors" in cache.read_text()


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    folder, file = write_base(tmp_path / "base"), tmp_path / "file"
    file.write_text("")
    assert base_model_hash(folder, file / "cache.json") == base_model_hash(folder)


def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for told in ("", "relative/path"):  # which counts as unset
        monkeypatch.setenv("XDG_CACHE_HOME", told)
        assert user_cache() == tmp_path / ".cache" / "simlora" / "base-models.json"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert user_cache() == tmp_path / "own" / "simlora" / "base-models.json"


def test_what_is_no_base_model_is_refused(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has no safetensors file"):
        base_model(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"has no config\.json"):
        base_model(str(folder))
    for wrong in ("none", "a" * 63, "A" * 64, ""):
        with pytest.raises(UserError, match="is no folder, and no hash"):
            base_model(str(tmp_path / wrong) if wrong == "none" else wrong or str(tmp_path / "x"))


def test_a_base_model_may_have_no_tokenizer(tmp_path: Path) -> None:
    folder = write_base(tmp_path / "base")
    assert base_model(str(folder)).tokenizer_hash == file_sha256(folder / "tokenizer.json")
    (folder / "tokenizer.json").unlink()
    assert base_model(str(folder)).tokenizer_hash is None
