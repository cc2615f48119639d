"""An adapter that fails its check is refused at once, and not looked at again until it changes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.live.adapter_store import Refused
from simlora.live.records import TRANSFER, read_rows
from simlora.live.replay import decisions_of
from simlora.registry.store import Registry
from simlora.results import files
from simlora.scenario.deployment import expand
from tests.simulating import Ask, traffic_of
from tests.unit.live.registered_fleet import (
    WEIGHTS,
    Fault,
    Fleet,
    not_a_number,
    pickled,
    tampered,
    truncated,
)
from tests.unit.live.test_registered import registered
from tests.unit.live.test_registered_store import store_of


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Adapters that were checked in full, in the registry."""
    done: list[str] = []
    checked = Registry.checked

    def counting(registry: Registry, adapter_id: str, version: str, **hashes: str) -> Path:
        done.append(adapter_id)
        return checked(registry, adapter_id, version, **hashes)

    monkeypatch.setattr(Registry, "checked", counting)
    return done


@pytest.mark.parametrize("tier", ["store", "nvme", "warm"])
@pytest.mark.parametrize("fault", [tampered, truncated, pickled, not_a_number])
def test_a_refused_adapter_is_checked_once_and_alerted_once(
    fleet: Fleet, fault: Fault, tier: str, checks: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the run begins with, and however many ask for it, one after the other."""
    folders = fleet.add_all(2)
    fault(fleet, folders[1])
    scenario = fleet.scenario(2).with_overrides(
        {"adapters.initial_tier": tier, "adapters.loading": {"retries": 3, "backoff_s": 0.01}}
    )
    asks = [Ask(0.4 * turn, 1, 8, 4) for turn in range(3)]
    with caplog.at_level(logging.ERROR):
        lived = registered(fleet, scenario, asks, "out")
    assert lived.statuses == ["failed"] * 3
    failed = [row for row in read_rows(lived.result.directory / files.STEPS) if row.failed]
    # What the check cannot see may have come to the disk's copy alone, so the store's is tried.
    more = int((fault, tier) == (not_a_number, "nvme"))
    assert [row.final for row in failed] == [False] * more + [True] * 3
    assert lived.summary["adapters"]["loads_given_up"] == 3
    if fault is not pickled:  # what is missing is seen without hashing
        alerts = [r for r in caplog.records if "tenant-0001" in r.getMessage()]
        assert len(alerts) == 1 + more
        assert checks.count("tenant-0001") <= 2 + 2 * more, "in the registry, and its copy"
    rows = read_rows(lived.result.directory / files.STEPS)
    assert {row.kind for row in failed} == {TRANSFER}
    again = decisions_of(lived.scenario, rows, traffic_of(expand(lived.scenario), asks))
    if tier != "warm":
        assert list(again) == lived.decisions


def test_an_adapter_that_is_mended_is_served_again(fleet: Fleet, checks: list[str]) -> None:
    source = fleet.add("tenant-0000")
    good = (source / WEIGHTS).read_bytes()
    tampered(fleet, source)
    store, folder = store_of(fleet), fleet.path / "copy"
    for _ in range(3):
        with pytest.raises(Refused, match="file_sha256"):
            store.copy_to(0, folder)
    assert len(checks) == 1
    (source / WEIGHTS).write_bytes(good)
    store.copy_to(0, folder)
    assert (folder / WEIGHTS).read_bytes() == good


def test_so_is_one_without_what_did_not_belong_there(fleet: Fleet) -> None:
    stray = fleet.add("tenant-0000") / "adapter_model.bin"
    stray.write_bytes(b"")
    store, folder = store_of(fleet), fleet.path / "copy"
    with pytest.raises(Refused, match="does not belong there"):
        store.copy_to(0, folder)
    stray.unlink()
    store.copy_to(0, folder)


def test_so_is_one_whose_key_has_come_to_be_trusted(fleet: Fleet) -> None:
    fleet.add("tenant-0000")
    key = next((fleet.folder / "trusted").iterdir())
    aside = fleet.path / key.name
    shutil.move(key, aside)
    store, folder = store_of(fleet), fleet.path / "copy"
    with pytest.raises(Refused, match="ops"):
        store.copy_to(0, folder)
    shutil.move(aside, key)
    store.copy_to(0, folder)


def test_what_loading_finds_is_remembered_as_what_the_check_finds(
    fleet: Fleet, checks: list[str]
) -> None:
    source = fleet.add("tenant-0000")
    store, folder = store_of(fleet), fleet.path / "copy"
    store.copy_to(0, folder)
    found = len(checks)
    assert isinstance(store.refuse(0, UserError("not finite")), Refused)
    with pytest.raises(Refused, match="not finite"):
        store.copy_to(0, folder)
    assert len(checks) == found
    (source / WEIGHTS).touch()
    store.copy_to(0, folder)


def test_trouble_in_reading_is_no_refusal(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may pass, so it is tried again as any transfer is."""
    source = fleet.add("tenant-0000")
    store, folder = store_of(fleet), fleet.path / "copy"
    store.copy_to(0, folder)
    (source / WEIGHTS).unlink()
    (source / WEIGHTS).mkdir()  # whoever reads it is told by the system that it cannot be read
    with pytest.raises(UserError) as error:
        store.copy_to(0, folder)
    assert not isinstance(error.value, Refused)
