"""An `add` that is interrupted, killed or overtaken leaves the registry as it was, or whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.registry import add as adding
from tests.unit.registry.fleet import WEIGHTS, House, tree, write_adapter


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.mark.parametrize("step", ["copyfile", "read_adapter", "sign"])
def test_an_interrupted_add_leaves_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = tree(house.folder)
    with monkeypatch.context() as patched:
        patched.setattr(*((shutil, step) if step == "copyfile" else (adding, step)), interrupt)
        with pytest.raises(KeyboardInterrupt):
            house.add()
    assert tree(house.folder) == before
    house.add()
    assert house.load() == house.stored


def test_what_a_killed_add_left_is_no_adapter(house: House) -> None:
    """As the system leaves it if the process ends at once: the name comes last."""
    house.add()
    left = house.folder / ".unfinished-x"
    shutil.copytree(house.adapter, left)
    assert [str(each) for each in house.registry.entries()] == ["support@v1"]
    assert house.registry.strays() == []


WRITING = """
import sys
from pathlib import Path
from simlora.registry.atomic import new_folder
root = Path(sys.argv[1])
with new_folder(root / "x" / "v1", root) as work:
    (work.path / "part").write_bytes(b"half")
    print(work.path, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_killed_add_left_is_removed_by_the_next_but_not_before(
    house: House, end: signal.Signals
) -> None:
    command = [sys.executable, "-c", WRITING, str(house.folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        house.add()
        assert (left / "part").read_bytes() == b"half"  # it is still being written
        other.send_signal(end)
        other.wait()
    assert left.is_dir()
    house.add(version="v2")
    assert sorted(path.name for path in house.folder.iterdir()) == ["support", "trusted"]
    house.load()


def test_an_interrupted_promotion_keeps_the_old_record(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(promoted_at=None)
    before = tree(house.folder)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            house.add()
    assert tree(house.folder) == before
    assert house.load() == house.stored


def test_of_two_adds_at_once_the_second_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_adapter(house.path / "other", seed=1)
    really = adding.sign

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.undo()
        house.add(other)
        monkeypatch.setattr(Path, "exists", late)
        return really(*arguments)

    there = Path.exists

    def late(path: Path, **how: Any) -> bool:
        """The second has looked just before the first was done."""
        monkeypatch.setattr(Path, "exists", there)
        return path != house.stored and there(path, **how)

    monkeypatch.setattr(adding, "sign", overtaken)
    with pytest.raises(UserError, match="was added by another process"):
        house.add()
    assert (house.stored / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    assert house.load() == house.stored
