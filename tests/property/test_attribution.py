"""Who used what is told exactly, whoever pays for it pays the whole bill, and nobody pays less for
using more."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from math import fsum
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from simlora.cost.money import in_cents
from simlora.cost.usage import read_usage, rents
from simlora.errors import UserError
from simlora.results.batch_time import BatchTime
from simlora.results.bill import Rent, Usage, divide
from simlora.results.result import Result
from simlora.results.usage import QUANTITIES
from simlora.scenario.cost import METHODS, Attribution, Cost, Method
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from tests.property.cases import Case, cases
from tests.simulating import Ask, Finished, run, small_scenario

MIXES = [*METHODS, "mix"]


def method(name: str) -> Method:
    if name == "mix":
        return Method(gpu_seconds=0.4, compute_units=0.3, tokens=0.1, residency=0.2)
    return Method(**{name: 1.0})


# --- whose the time is ---------------------------------------------------------------------


def booked(finished: Finished) -> list[BatchTime]:
    """What each place in the fleet has taken down."""
    for log in finished.collector.steps:
        log.drain()
        log.batch_time.close()
    return [log.batch_time for log in finished.collector.steps]


@settings(max_examples=150)
@given(cases())
def test_taking_many_steps_at_once_books_the_same_time_to_the_same_tenants(case: Case) -> None:
    fast, reference = (
        booked(run(case.scenario.with_overrides({"run.fast_forward": mode}), case.traffic()))
        for mode in (True, False)
    )
    for one, other in zip(fast, reference, strict=True):
        for figures in ("busy_s", "load_s", "stays_s"):
            assert getattr(one, figures) == pytest.approx(getattr(other, figures), abs=1e-9)


def test_the_tenants_seconds_are_those_in_which_replicas_were_busy() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150)
    @given(cases())
    def add_up(case: Case) -> None:
        finished = run(case.scenario, case.traffic())
        busy_s = [0.0] * len(finished.collector.steps)
        for member in finished.simulation.fleet.members:
            busy_s[member.number] = fsum(life.busy_s for life in member.lives)
        for time, steps_s in zip(booked(finished), busy_s, strict=True):
            assert min([*time.busy_s.values(), *time.load_s.values(), 0.0]) >= -1e-9
            shared_s = fsum(time.busy_s.values())
            # A step that a crash or the end of the run has cut counts as far as it came; one that
            # loads an adapter and computes nothing has nobody in it.
            if case.scenario.engine.adapter_loading == "overlap":
                assert shared_s >= steps_s - 1e-9
                if case.scenario.workload.on_end == "drain" and not case.scenario.events:
                    assert shared_s == pytest.approx(steps_s, abs=1e-9)
                    seen["whole"] += 1
            seen["several tenants"] += len(time.busy_s) > 1
            seen["loads in the way"] += bool(time.load_s)
            assert all(stay_s >= 0 for stay_s in time.stays_s.values())

    add_up()
    assert min(seen.values()) > 15, seen


def test_what_is_added_in_parts_is_what_is_added_at_once() -> None:
    """Wherever the log is emptied in between."""
    seen: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(cases(), st.lists(st.integers(0, 400), max_size=4))
    def agree(case: Case, cuts: list[int]) -> None:
        finished = run(case.scenario, case.traffic())
        for log in finished.collector.steps:
            whole, parts = BatchTime(), BatchTime()
            whole.add(bytes(log.weights), bytes(log.uses), log.loads)
            at = sorted({0, *(16 * cut for cut in cuts), len(log.weights)})
            records = [(start // 16, end // 16) for start, end in pairwise(at)]
            for start, end in records:
                loads = [
                    (after - start, adapter, seconds)
                    for after, adapter, seconds in log.loads
                    if start <= after < end or (after == end == records[-1][1])
                ]
                parts.add(bytes(log.weights[16 * start : 16 * end]), b"", loads)
            for start in range(0, len(log.uses), 60):
                parts.add(b"", bytes(log.uses[start : start + 60]), [])
            whole.close()
            parts.close()
            assert parts.busy_s == pytest.approx(whole.busy_s, abs=1e-9)
            assert parts.load_s == pytest.approx(whole.load_s, abs=1e-9)
            seen["loads"] += bool(whole.load_s)
            assert parts.stays_s == pytest.approx(whole.stays_s, abs=1e-9)

    agree()
    assert seen["loads"] > 3


# --- the bill ------------------------------------------------------------------------------


@st.composite
def platforms(draw: st.DrawFn) -> Scenario:
    """Pools that are shared, dedicated, of several GPUs, that grow and shrink, and that break."""
    autoscale = {"min": 0, "target_requests": 4.0, "interval_s": 0.1, "startup_s": 0.05}
    shared: dict[str, Any] = {
        "gpu": "mini",
        "replicas": draw(st.integers(1, 3)),
        "usd_per_gpu_hour": draw(st.sampled_from([0.0, 1.01, 98_765.43])),
    }
    if draw(st.booleans()):
        shared["autoscale"] = autoscale | {"down_after_s": draw(st.sampled_from([0.0, 0.2]))}
    fleet = [shared]
    if draw(st.booleans()):
        fleet.append({"gpu": "mini", "tenants": ["own"], "tensor_parallel": 2})
    if draw(st.booleans()):
        fleet.append({"name": "more", "gpu": "a10g", "usd_per_gpu_hour": 7.77})
    events = [{"crash": 0, "at_s": 0.2, "duration_s": 0.3}] if draw(st.booleans()) else []
    return small_scenario(
        seed=draw(st.integers(0, 1000)),
        workload={
            "rate_rps": draw(st.sampled_from([3.0, 60.0, 300.0])),
            "duration_s": draw(st.sampled_from([0.5, 2.0])),
            "on_end": draw(st.sampled_from(["drain", "discard"])),
        },
        tenants=[
            {"name": "small", "count": draw(st.sampled_from([1, 9]))},
            {"name": "own", "count": 2, "tier": "gold", "adapters": draw(st.integers(0, 2))},
        ],
        fleet=fleet,
        events=events,
        engine={
            "max_model_len": 1024,
            "adapter_loading": draw(st.sampled_from(["overlap", "blocking"])),
        },
        adapters={
            "initial_tier": "store",
            "loading": {"failure_rate": draw(st.sampled_from([0.0, 0.3])), "retries": 1},
        },
    )


def simulated(scenario: Scenario) -> Result:
    try:
        return simulate(scenario)
    except UserError as error:
        if "nothing is measured" not in str(error):
            raise
        reject()


def test_every_way_to_divide_a_bill_adds_up_to_it() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(
        platforms(),
        st.builds(
            Cost,
            host_usd_per_gpu_hour=st.sampled_from([0.0, 0.35]),
            gpu=st.just(Cost().gpu) | st.just(Cost().gpu.model_copy(update={"spot_share": 0.5})),
        ),
    )
    def adds_up(scenario: Scenario, cost: Cost) -> None:
        result = simulated(scenario)
        usage = read_usage(result)
        rented = rents(expand(scenario), result.summary, cost)
        bill = fsum(rent.usd for rent in rented)
        if not cost.host_usd_per_gpu_hour:
            assert bill == pytest.approx(result.summary["cost"]["fleet_usd"], rel=1e-12)
        for name in MIXES:
            for idle in ("own_line", "spread"):
                asked = Attribution(method=method(name), idle=idle)
                divided = divide(usage, rented, asked)
                parts = np.concatenate([divided.of_tenants, [divided.idle_usd]])
                assert parts.min() >= -1e-9 * max(bill, 1)
                assert fsum(parts) == pytest.approx(bill, abs=0.005, rel=1e-12)
                assert fsum(in_cents(parts, bill)) == pytest.approx(round(bill, 2), abs=1e-6)
                assert not (idle == "spread" and divided.idle_usd)
        seen["a pool idle"] += any(rent.usd and not row.any() for rent, row in pairs(usage, rented))
        seen["several pools"] += len(rented) > 1
        seen["dedicated"] += any(rent.owners.any() for rent in rented)
        seen["loads"] += bool(usage["load_gpu_s"].any())
        seen["scaled"] += scenario.fleet[0].autoscale is not None

    adds_up()
    assert len(seen) == 5 and min(seen.values()) > 3, seen


def pairs(usage: Usage, rented: list[Rent]) -> list[tuple[Rent, Any]]:
    return list(zip(rented, usage["gpu_s"], strict=True))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_cents_add_up_and_none_is_off_by_one(amounts: list[float]) -> None:
    told = in_cents(np.array(amounts), fsum(amounts))
    assert round(fsum(told) * 100) == round(fsum(amounts) * 100)
    assert max(abs(one - other) for one, other in zip(told, amounts, strict=True)) < 0.01 + 1e-6


# --- who uses more -------------------------------------------------------------------------

TENANTS, POOLS = 4, 2


@st.composite
def usages(draw: st.DrawFn) -> dict[str, np.ndarray]:
    figures = st.sampled_from([0.0, 0.5, 3.0, 40.0, 1000.0])
    found = {}
    for name in QUANTITIES:
        rows = st.lists(figures, min_size=POOLS * TENANTS, max_size=POOLS * TENANTS)
        found[name] = np.array(draw(rows)).reshape(POOLS, TENANTS)
    found["load_gpu_s"] = found["gpu_s"] * draw(st.sampled_from([0.0, 0.3, 0.9]))
    return found


@settings(max_examples=300)
@given(
    usages(),
    st.sampled_from(sorted(QUANTITIES)),
    st.integers(0, POOLS - 1),
    st.integers(0, TENANTS - 1),
    st.sampled_from([0.1, 1.0, 500.0]),
    st.sampled_from(MIXES),
    st.sampled_from(["own_line", "spread"]),
    st.booleans(),
)
def test_whoever_uses_more_of_anything_never_pays_less(
    figures: dict[str, np.ndarray],
    quantity: str,
    pool: int,
    tenant: int,
    more: float,
    name: str,
    idle: Any,
    dedicated: bool,
) -> None:
    """All else equal, the bill of the whole fleet too. Time for loads is a part of GPU time, which
    grows with it. Every method has measured something in a pool that is
    used: one that has not gives way to another, which may come out either way."""
    for other in ("gpu_s", "prompt_tokens", "input_tflop", "kv_gb_s"):
        figures[other] = figures[other] + np.array([[1.0, 0, 0, 0]])
    owners = np.array([dedicated, dedicated, False, False])
    # Rented is more than anybody was busy.
    rented = [Rent(str(row), 100.0 * (1 + row), 1e5, owners & (row == 1)) for row in range(POOLS)]
    asked = Attribution(method=method(name), idle=idle)
    before = divide(Usage(figures), rented, asked).of_tenants[tenant]
    grown = {key: rows.copy() for key, rows in figures.items()}
    grown[quantity][pool, tenant] += more
    if quantity == "load_gpu_s":
        grown["gpu_s"][pool, tenant] += more
    after = divide(Usage(grown), rented, asked).of_tenants[tenant]
    assert after >= before - 1e-9


def test_whoever_meets_a_load_pays_none_of_it() -> None:
    """Two tenants answer side by side, and a third comes whose adapter is copied between two steps.
    What the others pay is the same whether that takes a second or no time at all."""
    times = []
    for latency_s in (0.0, 1.0):
        scenario = small_scenario(
            tenants=[{"name": "base", "count": 2, "adapters": 0}, {"name": "loads"}],
            engine={"max_model_len": 1024, "adapter_loading": "blocking"},
            adapters={"initial_tier": "nvme", "nvme": {"latency_s": latency_s}},
        )
        asks = [
            Ask(0.0, tenant=0, output_tokens=200),
            Ask(0.0, tenant=1, output_tokens=200),
            Ask(0.01, 0, output_tokens=5),
        ]
        (time,) = booked(run(scenario, asks))
        times.append(time)
    quick, slow = times
    assert slow.load_s == {0: pytest.approx(quick.load_s[0] + 1.0)}  # the third's adapter
    assert slow.busy_s == pytest.approx(quick.busy_s)


@pytest.mark.parametrize("name", ["tokens", "compute_units"])
@pytest.mark.parametrize("idle", ["own_line", "spread"])
def test_a_tenant_that_sends_more_pays_more_in_simulation(name: str, idle: Any) -> None:
    """The others' requests are the same ones, and the fleet is rented for as long."""
    costs = []
    for rate in (0.2, 1.0, 4.0):
        scenario = small_scenario(
            tenants=[
                {"name": "same", "count": 3, "rate_rps_each": 1.0},
                {"name": "grows", "rate_rps_each": rate},
            ],
            workload={"duration_s": 60, "on_end": "discard"},
        )
        result = simulate(scenario)
        asked = Attribution(method=method(name), idle=idle)
        rented = rents(expand(scenario), result.summary, Cost())
        costs.append(divide(read_usage(result), rented, asked).of_tenants[3])
    assert costs == sorted(costs)
    assert costs[-1] > 2 * costs[0] > 0
