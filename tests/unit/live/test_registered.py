"""Adapters of a registry in a live run: what is wrong with one is nobody else's trouble."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.live.adapter_store import RegisteredStore
from simlora.live.driver import Driver
from simlora.live.records import WITHDRAW, read_rows
from simlora.live.replay import decisions_of
from simlora.live.run import Look, run_live
from simlora.live.server import Server
from simlora.results import files
from simlora.results.files import DECISIONS
from simlora.results.result import load_result
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.adapter_state import DRAINING
from simlora.serving.page_pool import ADAPTER, KV
from tests.simulating import Ask, traffic_of
from tests.unit.live.living import LONG, Lived, crowd
from tests.unit.live.registered_fleet import FAULTS, Fault, Fleet, tampered

GOOD = 2  # adapters, the first ones


class Looking:
    """Does something as the run begins, and keeps hold of its server."""

    def __init__(self, at_start: Look = lambda *_: None) -> None:
        self._at_start = at_start
        self.server: Server | None = None

    def __call__(self, driver: Driver, server: Server, time_s: float) -> None:
        if self.server is None:
            self._at_start(driver, server, time_s)
        self.server = server

    def check_all_given_back(self, adapters: int) -> None:
        """Nobody holds anything any more, and only resident adapters have pages."""
        assert self.server is not None
        memory = self.server.scheduler.memory
        memory.check()
        assert memory.pool.held[KV] == 0
        states = [memory.tiers.state(index) for index in range(adapters)]
        assert memory.pool.held[ADAPTER] == sum(s.pages for s in states if s.hot)
        assert not any(state.running or state.waiting for state in states)


def registered(
    fleet: Fleet, scenario: Scenario, asks: list[Ask], out: str, look: Look | None = None
) -> Lived:
    """Serve from the registry, comparing device and scheduler at every step boundary."""
    answers: dict[int, list[int]] = {}
    result = run_live(
        scenario,
        fleet.path / out,
        device="cpu",
        look=look or Looking(),
        answers=answers,
        traffic=traffic_of(expand(scenario), asks),
        check=True,
        registry=fleet.folder,
    )
    return Lived(scenario, asks, result, answers)


def asks_of(adapters: int) -> list[Ask]:
    """Four requests of each adapter, in turn, after a moment."""
    return [Ask(0.3 + 0.01 * turn, turn % adapters, 8, 12) for turn in range(4 * adapters)]


@pytest.mark.parametrize("tier", ["store", "nvme", "warm"])
@pytest.mark.parametrize("loading", ["overlap", "blocking"])
def test_bad_adapters_fail_their_own_requests_and_nobody_elses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tier: str, loading: str
) -> None:
    """All faults at once, beside two good adapters, wherever the run begins with them."""
    fleet = Fleet(tmp_path)
    count = GOOD + len(FAULTS)
    folders = fleet.add_all(count)
    for fault, folder in zip(FAULTS, folders[GOOD:], strict=True):
        fault(fleet, folder)
    scenario = fleet.scenario(count, adapter_loading=loading)
    scenario = scenario.with_overrides({"adapters.initial_tier": tier})
    asks, looking = asks_of(count), Looking()
    with caplog.at_level(logging.ERROR):
        lived = registered(fleet, scenario, asks, "bad", looking)
    bad = [number for number, ask in enumerate(asks) if ask.adapter >= GOOD]
    assert [lived.statuses[number] for number in bad] == ["failed"] * len(bad)
    assert set(lived.result.requests["reason"].dropna()) == {"adapter_load"}
    looking.check_all_given_back(count)
    alerts = [record.getMessage() for record in caplog.records]
    for number in range(GOOD, count):
        assert any(f"tenant-{number:04d}" in alert for alert in alerts), number
    assert not any("tenant-0000" in alert or "tenant-0001" in alert for alert in alerts)

    # The base model asks in the place of the bad ones, so that requests keep their prompts.
    others = [replace(ask, adapter=-1) if ask.adapter >= GOOD else ask for ask in asks]
    without = registered(fleet, scenario, others, "without")
    good = set(range(len(asks))) - set(bad)
    assert good and lived.answers == {number: without.answers[number] for number in good}
    assert set(without.statuses) == {"completed"}


@pytest.mark.parametrize("tier", ["store", "nvme", "warm"])
@pytest.mark.parametrize("loading", ["overlap", "blocking"])
def test_a_replay_without_the_registry_decides_the_same(
    tmp_path: Path, tier: str, loading: str
) -> None:
    """Of a run with bad adapters: that they were not where it was to begin with them is in its
    record, and so is that their transfers failed."""
    fleet = Fleet(tmp_path)
    count = GOOD + len(FAULTS)
    for fault, folder in zip(FAULTS, fleet.add_all(count)[GOOD:], strict=True):
        fault(fleet, folder)
    scenario, asks = fleet.scenario(count, adapter_loading=loading), asks_of(count)
    scenario = scenario.with_overrides({"adapters.initial_tier": tier})
    lived = registered(fleet, scenario, asks, "out")
    rows = read_rows(lived.result.directory / files.STEPS)
    assert any(row.failed for row in rows)
    assert list(decisions_of(scenario, rows, traffic_of(expand(scenario), asks))) == lived.decisions


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_spoilt_after_the_start_is_found_out_at_the_load(
    tmp_path: Path, fault: Fault
) -> None:
    fleet = Fleet(tmp_path)
    folders = fleet.add_all(2)
    looking = Looking(lambda *_: fault(fleet, folders[1]))
    lived = registered(fleet, fleet.scenario(2), asks_of(2), "out", looking)
    assert lived.statuses == ["completed", "failed"] * 4
    looking.check_all_given_back(2)


def test_adapters_are_those_of_the_registry(tmp_path: Path) -> None:
    """Another adapter of the same name says something else, and so does none."""
    answers: list[dict[int, list[int]]] = []
    for seed in (1, 1, 2):
        fleet = Fleet(tmp_path / f"{len(answers)}")
        fleet.add("tenant-0000", seed=seed)
        answers.append(registered(fleet, fleet.scenario(1), asks_of(1), "out").answers)
    assert answers[0] == answers[1] != answers[2]
    base = [replace(ask, adapter=-1, tenant=0) for ask in asks_of(1)]
    assert registered(fleet, fleet.scenario(1), base, "base").answers != answers[2]


def test_a_tenant_with_several_adapters_gets_each_from_the_registry(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for number in (0, 1):
        fleet.add(f"tenant-0000-{number}")
    scenario = fleet.scenario(1).with_overrides({"tenants.0.adapters": 2})
    asks = [Ask(0.1 * n, n % 2, 8, 12) for n in range(6)]
    lived = registered(fleet, scenario, asks, "out")
    assert set(lived.statuses) == {"completed"}
    names = lived.result.requests.sort_values("request")["adapter"].astype(str).tolist()
    assert names == ["tenant-0000/0", "tenant-0000/1"] * 3
    shutil.rmtree(fleet.folder / "tenant-0000-1")
    with pytest.raises(UserError, match=r'tenant-0000/1 .* no adapter "tenant-0000-1"'):
        registered(fleet, scenario, asks, "missing")


def test_an_adapter_spoilt_while_it_is_used_drains_at_the_next_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first adapter's answer goes on to its end; who asks for it later is turned away."""
    fleet = Fleet(tmp_path)
    folders = fleet.add_all(2)
    copy_to = RegisteredStore.copy_to

    def spoil_then_copy(store: RegisteredStore, index: int, folder: Path) -> None:
        if index == 1:
            tampered(fleet, folders[0])
        copy_to(store, index, folder)

    monkeypatch.setattr(RegisteredStore, "copy_to", spoil_then_copy)
    asks = [Ask(0.0, 0, 8, 200), Ask(1.0, 1, 8, 8), Ask(4.0, 0, 8, 8), Ask(4.0, 1, 8, 8)]
    looking = Looking()
    scenario = fleet.scenario(2, max_model_len=240)
    lived = registered(fleet, scenario, asks, "out", looking)
    assert lived.statuses == ["completed", "completed", "failed", "completed"]
    assert set(lived.result.requests["reason"].dropna()) == {"adapter_withdrawn"}
    assert len(lived.answers[0]) == 200
    looking.check_all_given_back(2)
    told = [
        (line["decision"], line.get("request"), line.get("adapter")) for line in lived.decisions
    ]
    left = told.index(("adapter_evicted", None, "tenant-0000"))
    # Who asks later may do so before it has left, where the machine is slow, or after.
    assert told.index(("finished", 0, None)) < left
    rows = read_rows(lived.result.directory / files.STEPS)
    assert [row.number for row in rows if row.kind == WITHDRAW] == [0]
    assert list(decisions_of(scenario, rows, traffic_of(expand(scenario), asks))) == lived.decisions


def test_requests_under_way_keep_a_withdrawn_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Withdrawn in the middle of an answer: the answer is the one that it would have been."""
    fleet = Fleet(tmp_path)
    fleet.add_all(2)
    scenario = fleet.scenario(2, max_model_len=240)
    asks = [Ask(0.0, 0, 8, 100), Ask(0.0, 1, 8, 200)]
    calm = registered(fleet, scenario, asks, "calm")
    complete = Server.complete
    used: list[int] = []

    def complete_and_withdraw(server: Server, *times: float) -> None:
        complete(server, *times)
        state = server.scheduler.tiers.state(0)
        used.append(state.running)
        if sum(used) == 50:
            server.scheduler.tiers.withdraw(0)
        if state.hot == DRAINING:
            assert state.running == 1

    monkeypatch.setattr(Server, "complete", complete_and_withdraw)
    looking = Looking()
    lived = registered(fleet, scenario, asks, "out", looking)
    assert sum(used) == 99, "in the batch after each of its steps but the last"
    assert lived.answers == calm.answers
    told = [line["decision"] for line in lived.decisions]
    assert [line["adapter"] for line in lived.decided("adapter_evicted")] == ["tenant-0000"]
    assert told.index("finished") + 1 == told.index("adapter_evicted")
    looking.check_all_given_back(2)


def test_a_full_pool_preempts_and_serves_everyone(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.add_all(4)
    scenario = fleet.scenario(
        4, memory={"kv_cache_tokens": 256}, scheduler={"admission": "first_chunk"}
    )
    asks, looking = crowd(30, 4), Looking()
    lived = registered(fleet, scenario, asks, "out", looking)
    assert set(lived.statuses) == {"completed"}
    assert lived.summary["batch"]["preemptions"] > 0
    assert lived.summary["adapters"]["evictions"] > 0
    assert [len(lived.answers[n]) for n in range(30)] == [ask.output_tokens for ask in asks]
    looking.check_all_given_back(4)


def test_sigterm_under_load_ends_the_command_as_ctrl_c_does(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    fleet.add_all(2)
    scenario, out = tmp_path / "long.yaml", tmp_path / "out"
    scenario.write_text(LONG.format(model=fleet.model))
    command = [sys.executable, "-m", "simlora", "live", str(scenario), "--device", "cpu"]
    command += ["--registry", str(fleet.folder), "--out", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None and not _begun(out):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, complaints = process.communicate(timeout=60)
    assert process.returncode == 130, complaints
    summary = load_result(out).summary
    assert summary["simulation"]["interrupted"] is True
    assert summary["requests"]["completed"] == summary["requests"]["offered"] > 0
    assert "Traceback" not in complaints


def _begun(out: Path) -> bool:
    """Whether decisions have reached the disk."""
    return any(path.stat().st_size for path in out.glob(f".unfinished-*/{DECISIONS}"))
