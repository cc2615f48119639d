"""Nothing is lost or made: requests, pages, money; and nothing crosses the lines of isolation."""

from __future__ import annotations

from collections import Counter
from math import fsum
from typing import Any

import pytest
from hypothesis import Phase, event, given, reject, settings
from hypothesis import strategies as st

from simlora.errors import UserError
from simlora.results.result import Result
from simlora.scenario.events import PoolLeak
from simlora.scenario.schema import Scenario
from simlora.serving.page_pool import ADAPTER, KV, PREFIX
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from simlora.sim import simulate
from tests.property.cases import Case, cases
from tests.simulating import Finished, run, small_scenario
from tests.timings import Witness

WITNESS = {"timing.profile": "tests.timings:Witness"}


@settings(max_examples=200)
@given(cases())
def test_every_request_ends_once_and_every_page_is_accounted_for(case: Case) -> None:
    finished = run(case.scenario, case.traffic())
    assert [request.index for request in finished.requests] == list(range(case.load.requests))
    drained = case.scenario.workload.on_end == "drain"
    if drained:
        ends = {COMPLETED, REJECTED}
        if case.scenario.adapters.loading.failure_rate or _may_fail(case.scenario):
            ends.add(FAILED)
        assert {request.status for request in finished.requests} <= ends
    for member in finished.simulation.fleet.members:
        for life in member.lives:
            pool = life.scheduler.memory.pool
            assert pool.allocated_total == pool.freed_total + sum(pool.held)
            assert life is member.process or not sum(pool.held)  # what is lost holds nothing
    for replica in finished.simulation.fleet.busy:
        scheduler = replica.scheduler
        pool = scheduler.memory.pool
        scheduler.memory.check()
        if drained:
            assert scheduler.outstanding == scheduler.waiting == 0
            assert pool.held[KV] == 0
            assert pool.free + pool.held[PREFIX] + pool.held[ADAPTER] == pool.pages


@settings(max_examples=200)
@given(cases())
def test_replicas_keep_their_count_of_requests_as_they_go(case: Case) -> None:
    finished = run(case.scenario, case.traffic(), sample_interval_s=1 / 128)
    plans = finished.simulation.plans
    leaks = {event.pool_leak for event in case.scenario.events if isinstance(event, PoolLeak)}
    for time_s, replica, running, waiting, *pages, _, up in finished.collector.gauges:
        assert 0 <= running <= case.scenario.engine.max_num_seqs, time_s
        assert 0 <= waiting <= case.load.requests, time_s
        assert min(pages) >= 0, time_s
        held = plans[int(replica)].pool_pages if up else 0
        assert sum(pages) == held or (int(replica) in leaks and sum(pages) < held), time_s


def _may_fail(scenario: Scenario) -> bool:
    """Whether time may run out, a replica be lost, or the store be out."""
    return bool(scenario.gateway.timeouts_s or scenario.events)


# --- money and files -----------------------------------------------------------------------


@st.composite
def results(draw: st.DrawFn) -> Result:
    scenario = small_scenario(
        seed=draw(st.integers(0, 1000)),
        workload={
            "rate_rps": draw(st.sampled_from([2.0, 60.0, 400.0])),
            "duration_s": draw(st.sampled_from([0.05, 1.0, 3.0])),
            "arrivals": draw(st.sampled_from(["poisson", "sessions", {"gamma": {"cv": 3.0}}])),
            "on_end": draw(st.sampled_from(["drain", "discard"])),
        },
        tenants=[
            {"name": "free", "count": draw(st.sampled_from([1, 7, 30])), "adapters": 1},
            {"name": "base", "count": 2, "adapters": 0, "tier": "gold"},
        ],
        fleet=[
            {
                "gpu": "mini",
                "replicas": draw(st.integers(1, 3)),
                "usd_per_gpu_hour": draw(st.sampled_from([0.0, 1.01, 98.76])),
            }
        ],
        gateway={"rate_limits": draw(st.sampled_from([{}, {"gold": {"rps": 3.0, "burst": 1}}]))},
        adapters={
            "cold_start": draw(st.sampled_from(["wait", "reject"])),
            "initial_tier": "store",
        },
        run={"warmup_s": draw(st.sampled_from([0.0, 0.04]))},
    )
    try:
        return simulate(scenario)
    except UserError as error:  # so short that nobody came, or nobody after the warm-up
        if "nothing is measured" not in str(error):
            raise
        reject()


@settings(max_examples=40)
@given(results())
def test_counts_of_requests_and_tenants_bills_add_up(result: Result) -> None:
    requests, cost = result.summary["requests"], result.summary["cost"]
    ends = ("completed", "rejected", "failed", "unfinished")
    assert requests["offered"] == sum(requests[end] for end in ends) == len(result.requests)
    for end in ends:
        event(f"some {end}: {requests[end] > 0}")
        assert requests[end] == (result.requests["status"] == end).sum()
        assert requests[end] == result.tenants[end].sum()
    hours = result.summary["simulation"]["span_s"] / 3600
    bill = cost["gpus"] * hours * result.summary["simulation"]["fleet"][0]["usd_per_gpu_hour"]
    assert cost["fleet_usd"] == pytest.approx(bill)
    assert fsum(result.tenants["cost_usd"]) == pytest.approx(bill, abs=0.005)
    memory = result.summary["memory"]
    assert memory["pages_allocated"] == memory["pages_freed"] + memory["pages_held"]
    found = result.summary["adapters"]["hits_by_tier"]
    assert sum(found.values()) == result.summary["adapters"]["lookups"]


@settings(max_examples=40)
@given(results())
def test_phases_of_completed_requests_add_up_to_their_latency(result: Result) -> None:
    done = result.requests[result.requests["status"] == "completed"]
    phases = ["queue_s", "adapter_wait_s", "prefill_s", "decode_s", "preempted_s"]
    assert (done[phases].sum(axis=1) - done["e2e_s"]).abs().max() < 1e-9 or done.empty
    assert (done["arrival_s"] + done["e2e_s"] - done["finish_s"]).abs().max() < 1e-9 or done.empty


# --- isolation -----------------------------------------------------------------------------


def namespace(isolation: str, request: Request) -> Any:
    """Who may share a prefix with the request."""
    if isolation == "adapter":
        on_base = request.adapter < 0 or request.base_fallback
        return ("base of", request.tenant) if on_base else ("adapter", request.adapter)
    return request.tenant if isolation == "tenant" else "everybody"


def assert_hits_have_a_source(isolation: str, case: Case, finished: Finished) -> int:
    """What a request found in the cache, one of its own namespace had computed on the same replica
    before. Returns the number of hits."""
    block = case.load.prefix_block_tokens
    hits = [request for request in finished.requests if request.cached_tokens]
    for hit in hits:
        assert hit.prefix_hashes is not None
        prefix = hit.prefix_hashes[: hit.cached_tokens // block]
        admitted_s = hit.arrival_s + hit.queue_s + hit.adapter_wait_s
        assert hit.cached_tokens < hit.prompt_tokens
        assert any(
            (request.prefix_hashes or [])[: len(prefix)] == prefix
            and request.replica == hit.replica
            and namespace(isolation, request) == namespace(isolation, hit)
            and 0 <= request.first_token_s <= admitted_s + 1e-9
            for request in finished.requests
            if request is not hit
        ), hit.index
    return len(hits)


def _hits_of(cases_with_hits: Counter[str], case: Case) -> None:
    for isolation in ("adapter", "tenant"):
        changes = {"prefix_cache.enabled": True, "prefix_cache.isolation": isolation}
        scenario = case.scenario.with_overrides({f"engine.{k}": v for k, v in changes.items()})
        finished = run(scenario, case.traffic())
        cases_with_hits[isolation] += assert_hits_have_a_source(isolation, case, finished) > 0


def test_a_prefix_is_never_shared_across_adapters_or_tenants() -> None:
    hits: Counter[str] = Counter()

    @settings(max_examples=120)
    @given(cases())
    def isolated(case: Case) -> None:
        _hits_of(hits, case)

    isolated()
    assert min(hits["adapter"], hits["tenant"]) >= 15, hits


def test_sharing_by_mistake_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReplicaMemory, "_namespace", lambda self, request: 0)

    @settings(max_examples=120, phases=[Phase.generate], report_multiple_bugs=False)
    @given(cases())
    def isolated(case: Case) -> None:
        _hits_of(Counter(), case)

    with pytest.raises(AssertionError):
        isolated()


# --- limits of a batch ---------------------------------------------------------------------


def test_a_batch_keeps_within_its_slots_sequences_and_tokens() -> None:
    full: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(cases())
    def within(case: Case) -> None:
        # So few tokens that a long prompt fills a step.
        scenario = case.scenario.with_overrides(WITNESS | {"engine.max_num_batched_tokens": 64})
        engine, hot = scenario.engine, scenario.adapters.hot
        most = Witness.watch()
        run(scenario, case.traffic())
        slots = engine.memory.max_loras or hot.max_adapters
        assert slots is None or most.distinct_adapters <= slots
        assert most.decode_seqs <= engine.max_num_seqs
        assert most.prefill_seqs <= engine.max_num_seqs
        if engine.scheduler.chunked_prefill:
            assert most.prefill_tokens <= engine.max_num_batched_tokens
        full["slots"] += engine.memory.max_loras == most.distinct_adapters
        full["sequences"] += most.decode_seqs == engine.max_num_seqs
        full["tokens"] += most.prefill_tokens == engine.max_num_batched_tokens

    within()
    assert min(full[limit] for limit in ("slots", "sequences", "tokens")) >= 10, full
