"""Loads that steps wait for: each reads once, and one that fails is nobody else's trouble."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from threading import Event

import pytest

from simlora.errors import UserError
from simlora.live.adapter_files import AdapterFiles
from simlora.live.adapter_store import RandomStore, damage
from simlora.live.driver import Driver
from simlora.live.embedded import Embedded, PackedAdapter
from simlora.live.records import LOAD, STEP, read_rows
from simlora.live.replay import decisions_of
from simlora.live.server import Server
from simlora.results import files
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from tests.simulating import Ask, traffic_of
from tests.unit.live.living import Lived, alone, live, live_scenario
from tests.unit.live.registered_fleet import Fleet
from tests.unit.live.test_registered import Looking, registered

SLOT = {"mode": "slots", "max_loras": 1, "max_lora_rank": 8, "kv_cache_tokens": 512}
NO_ROOM = {"adapters.warm.capacity_gb": 1e-9, "adapters.nvme.capacity_gb": 1e-9}
IN_TURN = [Ask(0.0, turn % 3, 8, 12) for turn in range(6)]


def blocking(folder: Path, initial_tier: str = "nvme") -> Scenario:
    scenario = live_scenario(folder, adapters=3, adapter_loading="blocking", memory=SLOT)
    return scenario.with_overrides({"adapters.initial_tier": initial_tier})


def told(lived: Lived) -> dict[int, list[int]]:
    """What clients got; a request that fails may have been in a batch, but was told nothing."""
    return {number: said for number, said in lived.answers.items() if said}


def check_replay(lived: Lived) -> None:
    rows = read_rows(lived.result.directory / files.STEPS)
    again = decisions_of(lived.scenario, rows, traffic_of(expand(lived.scenario), lived.asks))
    assert list(again) == lived.decisions


def test_an_adapter_that_no_tier_keeps_is_read_once_a_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = Fleet(tmp_path)
    fleet.add_all(3)
    scenario = fleet.scenario(3, adapter_loading="blocking", memory=SLOT).with_overrides(NO_ROOM)
    reads: list[Path] = []
    read = Embedded.read

    def counting(engine: Embedded, folder: Path) -> PackedAdapter:
        reads.append(folder)
        return read(engine, folder)

    monkeypatch.setattr(Embedded, "read", counting)
    looking = Looking()
    lived = registered(fleet, scenario, IN_TURN, "out", looking)
    assert set(lived.statuses) == {"completed"}
    assert len(reads) == lived.summary["adapters"]["loads"] >= 3
    looking.check_all_given_back(3)


def test_an_adapter_that_goes_while_another_is_busy_ends_nobody_elses_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been read and waits for the only slot; whoever asks later has to read it again."""
    fleet = Fleet(tmp_path)
    folders = fleet.add_all(2)
    scenario = fleet.scenario(2, adapter_loading="blocking", memory=SLOT).with_overrides(NO_ROOM)
    read, other_is_there = AdapterFiles.read, Event()

    def read_and_remove(
        store: AdapterFiles, index: int, *, download: bool = False
    ) -> PackedAdapter:
        packed = read(store, index, download=download)
        if index == 0:
            other_is_there.set()
        else:
            # The load of the other would find out that this one is gone.
            assert other_is_there.wait(20)
            shutil.rmtree(folders[1])
        return packed

    monkeypatch.setattr(AdapterFiles, "read", read_and_remove)
    asks = [Ask(0.0, 0, 8, 60), Ask(0.0, 1, 8, 4), Ask(1.5, 0, 8, 4), Ask(3.0, 1, 8, 4)]
    lived = registered(fleet, scenario, asks, "out")
    assert lived.statuses == ["completed", "completed", "completed", "failed"]


def test_what_is_on_the_disk_only_is_still_there_when_its_load_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk keeps nothing that has a place in host memory, where it comes with its load."""
    copied: list[int] = []
    copy_to = RandomStore.copy_to

    def counting(store: RandomStore, index: int, folder: Path) -> None:
        copied.append(index)
        copy_to(store, index, folder)

    monkeypatch.setattr(RandomStore, "copy_to", counting)
    scenario = blocking(tmp_path).with_overrides({"adapters.nvme.inclusive": False})
    lived = live(scenario, IN_TURN, tmp_path / "out")
    assert lived.answers == alone(scenario, IN_TURN, tmp_path)
    assert copied == [0, 1, 2], "as the run began"
    check_replay(lived)


@pytest.mark.parametrize("broken", ["damaged", "gone"])
def test_a_load_that_fails_fails_its_own_requests_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The disk's copy is no good; the store's is, for whoever asks later."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    servers: list[Server] = []

    def spoil(driver: Driver, server: Server, time_s: float) -> None:
        if servers:
            return
        servers.append(server)
        (folder,) = (tmp_path / "tmp").glob("simlora-*/disk/1")
        for path in folder.iterdir():
            if broken == "gone":
                path.unlink()
        if broken == "damaged":
            damage(folder)

    scenario = blocking(tmp_path)
    asks = [*IN_TURN, Ask(3.0, 1, 8, 12), Ask(3.0, 2, 8, 12)]
    lived = live(scenario, asks, tmp_path / "out", spoil)
    assert lived.statuses == ["completed", "failed", "completed"] * 2 + ["completed"] * 2
    assert set(lived.result.requests["reason"].dropna()) == {"adapter_load"}
    said = alone(scenario, asks, tmp_path)
    assert told(lived) == {number: said[number] for number in (0, 2, 3, 5, 6, 7)}
    (server,) = servers
    tiers = server.scheduler.tiers
    assert (tiers.stats.transfers_failed, tiers.stats.loads_given_up) == (1, 1)
    rows = read_rows(lived.result.directory / files.STEPS)
    assert [row.number for row in rows if row.kind == LOAD] == [1]
    check_replay(lived)


@pytest.mark.parametrize("error", [UserError("damaged"), OSError(errno.EIO, "Input/output error")])
@pytest.mark.parametrize("kind", ["unified", "slots", "separate"])
def test_a_load_that_fails_in_a_full_batch_leaves_all_memory_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    """With prompts longer than a step, shared prefixes and others decoding beside it; each
    adapter's first load fails."""
    tries = Counter[int]()
    read = AdapterFiles.read

    def first_fails(store: AdapterFiles, index: int, *, download: bool = False) -> PackedAdapter:
        tries[index] += 1
        if tries[index] == 1 and not download:
            raise error
        return read(store, index, download=download)

    monkeypatch.setattr(AdapterFiles, "read", first_fails)
    more = {"memory": SLOT | {"max_loras": 2}} if kind == "slots" else {}
    if kind == "separate":
        more = {"scheduler": {"batching": "separate", "chunked_prefill": False}}
    scenario = live_scenario(tmp_path, adapters=3, adapter_loading="blocking", **more)
    scenario = scenario.with_overrides(
        {"adapters.initial_tier": "nvme", "adapters.store": {"latency_s": 0.001, "tls_s": 0.0}}
    )
    asks = [Ask(0.0, -1, 8, 60)]
    asks += [Ask(0.05, turn % 3, 50, 8, hashes=(1, 2)) for turn in range(6)]
    asks += [Ask(2.0, turn % 3, 50, 8, hashes=(1, 2)) for turn in range(6)]
    looking = Looking()
    lived = live(scenario, asks, tmp_path / "out", looking)
    assert lived.statuses[0] == "completed"
    assert lived.statuses[1:4] == ["failed"] * 3
    assert lived.statuses[7:] == ["completed"] * 6
    looking.check_all_given_back(3)
    said = alone(scenario, asks, tmp_path)
    done = [number for number, status in enumerate(lived.statuses) if status == "completed"]
    assert told(lived) == {number: said[number] for number in done}
    rows = read_rows(lived.result.directory / files.STEPS)
    assert sorted(row.number for row in rows if row.kind == LOAD) == [0, 1, 2]
    assert any(row.kind == STEP and row.decodes for row in rows)
    check_replay(lived)
