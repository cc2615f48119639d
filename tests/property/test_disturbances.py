"""Whatever goes wrong: no request is lost or served twice, by a replica that may not, or with other
weights than it asked for; no page and no second of rent is lost; and the run ends."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings

from simlora.serving.page_pool import ADAPTER, KV, PREFIX
from simlora.serving.request import COMPLETED, FAILED, REJECTED, WAITING
from simlora.sim.fleet import OFF, UP
from tests.property.cases import Case
from tests.property.disturbed import disturbed_cases
from tests.property.watching import Tokens, Weights
from tests.simulating import Finished, phases_s, run

REASONS = {
    REJECTED: {"context_length", "rate_limit", "cold_start", "overloaded", "unavailable"},
    FAILED: {"adapter_load", "timeout", "replica_lost"},
    COMPLETED: {""},
}


def test_every_request_ends_once_and_its_time_is_accounted_for() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(disturbed_cases())
    def ends(case: Case) -> None:
        finished = run(case.scenario, case.traffic())
        requests = finished.requests
        own = [request.index for request in requests if not request.shadow]
        assert own == list(range(case.load.requests))
        copies = [request.index for request in requests if request.shadow]
        assert len(set(copies)) == len(copies)
        for request in requests:
            if request.status not in REASONS:
                assert case.scenario.workload.on_end == "discard"
                continue
            assert request.reason in REASONS[request.status]
            if request.status != REJECTED:
                e2e_s = request.finish_s - request.arrival_s
                assert phases_s(request) == pytest.approx(e2e_s, abs=1e-9), request.index
            if request.status == COMPLETED:
                assert request.emitted_tokens == request.output_tokens
            seen[request.reason] += 1
        seen["copy"] += bool(copies)

    ends()
    wanted = set().union(*REASONS.values(), {"copy"}) - {"context_length"}
    assert min(seen[what] for what in wanted) >= 15, seen


def test_every_page_is_accounted_for_in_every_life_of_a_replica() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(disturbed_cases())
    def accounted(case: Case) -> None:
        finished = run(case.scenario, case.traffic())
        here = finished.simulation.fleet.busy
        for replica in finished.simulation.replicas:
            scheduler = replica.scheduler
            pool = scheduler.memory.pool
            pool.check()
            seen["leaked"] += scheduler.leak.lost > 0
            if replica not in here:
                assert (pool.held, scheduler.outstanding) == ([0, 0, 0], 0)
                assert not any(link.active for link in replica.links)
                seen["gone"] += 1
                continue
            scheduler.memory.check()
            if case.scenario.workload.on_end == "drain":
                assert scheduler.outstanding == scheduler.waiting == pool.held[KV] == 0
                assert pool.free + pool.held[PREFIX] + pool.held[ADAPTER] == pool.pages

    accounted()
    assert min(seen["gone"], seen["leaked"]) >= 15, seen


def test_the_gauges_add_up_to_the_memory_that_is_left() -> None:
    @settings(max_examples=100)
    @given(disturbed_cases())
    def add_up(case: Case) -> None:
        finished = run(case.scenario, case.traffic(), sample_interval_s=1 / 64)
        leaky = {getattr(event, "pool_leak", -1) for event in case.scenario.events}
        for _, number, running, waiting, *pages, hot, up in finished.collector.gauges:
            most = finished.simulation.plans[int(number)].pool_pages
            assert min(running, waiting, hot, *pages) >= 0
            assert running <= case.scenario.engine.max_num_seqs
            if up == 0:
                assert running == waiting == hot == sum(pages) == 0
            elif number in leaky:
                assert sum(pages) <= most
            else:
                assert sum(pages) == most

    add_up()


def test_a_token_that_a_request_has_is_not_generated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(monkeypatch)
    preempted = 0

    @settings(max_examples=200)
    @given(disturbed_cases())
    def once(case: Case) -> None:
        nonlocal preempted
        tokens.generated = 0
        finished = run(case.scenario, case.traffic())
        assert tokens.generated == sum(request.emitted_tokens for request in finished.requests)
        preempted += any(request.preemptions for request in finished.requests)

    once()
    assert preempted >= 15


def test_no_request_is_served_with_other_weights_than_it_was_assigned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = Weights(monkeypatch)
    seen: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(disturbed_cases())
    def own(case: Case) -> None:
        weights.clear()
        finished = run(case.scenario, case.traffic())
        candidates = set(finished.simulation.versions._candidates.values())
        for request in finished.requests:
            assert request.adapter == weights.assigned.get(request.index, request.adapter)
            expected = -1 if request.base_fallback else request.adapter
            used = weights.used.get(request.index, set())
            assert used <= {expected}, request.index
            if request.status == COMPLETED:
                assert used == {expected}
            served = request.status == COMPLETED and not request.base_fallback
            moved = served and len(finished.simulation.replicas) > len(finished.simulation.plans)
            seen["candidate"] += served and request.adapter in candidates
            seen["candidate, with a loss"] += moved and request.adapter in candidates
            seen["on the base model"] += used == {-1}

    own()
    assert len(seen) == 3
    assert min(seen.values()) >= 15, seen


def _may_serve(finished: Finished, tenant: int, adapter: int) -> set[int]:
    choices = finished.simulation.placement.choices(tenant, adapter)
    return {number for numbers in choices for number in numbers}


def test_no_request_is_served_where_it_may_not_be() -> None:
    """By base model and by region, also when its own replicas are lost."""
    seen: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(disturbed_cases())
    def stays(case: Case) -> None:
        finished = run(case.scenario, case.traffic())
        fleet = [pool for pool in case.scenario.fleet for _ in range(pool.replicas)]
        deployment = finished.simulation._deployment
        for request in finished.requests:
            if request.replica < 0:
                continue
            assert request.replica in _may_serve(finished, request.tenant, request.adapter)
            group = case.scenario.tenants[deployment.tenants[request.tenant].group]
            pool = fleet[request.replica]
            assert not group.regions or pool.region in group.regions
            if request.adapter >= 0:
                model = deployment.adapters[request.adapter].model
                assert model == (pool.model.name if pool.model else case.scenario.model.name)
            seen["abroad"] += bool(group.regions) and pool.region != group.regions[0]
            seen["other model"] += pool.model is not None

    stays()
    assert min(seen["abroad"], seen["other model"]) >= 15, seen


def test_a_replica_is_paid_for_while_it_is_there_and_no_longer() -> None:
    @settings(max_examples=100)
    @given(disturbed_cases())
    def paid(case: Case) -> None:
        finished = run(case.scenario, case.traffic(), sample_interval_s=1 / 64)
        now = finished.simulation.env.now
        up_s: dict[int, float] = defaultdict(float)
        for time_s, number, *_, up in finished.collector.gauges:
            up_s[int(number)] += up * min(1 / 64, now - time_s)
        for member in finished.simulation.fleet.members:
            paid_s = member.paid_until(now)
            assert -1e-9 <= paid_s <= now + 1e-9
            # Between two gauges it may have come and gone, once for each of its lives.
            assert paid_s >= up_s[member.number] - len(member.lives) / 64 - 1e-9
            scaling = case.scenario.fleet[member.pool].autoscale
            if scaling is None:
                assert paid_s == pytest.approx(now)
                assert member.state != OFF
            if member.state == UP and len(member.lives) == 1 and scaling is None:
                assert member.process.scheduler.number == member.number

    paid()


def test_what_waits_at_the_end_waits_for_nothing_that_could_have_been() -> None:
    """A run that drains leaves nothing unfinished."""

    @settings(max_examples=200)
    @given(disturbed_cases())
    def drained(case: Case) -> None:
        scenario = case.scenario.with_overrides({"workload.on_end": "drain"})
        finished = run(scenario, case.traffic())
        assert not [request for request in finished.requests if request.status <= WAITING + 1]

    drained()
