"""Adapters withdrawn at any moment: nobody joins them, and their pages are given back once."""

from __future__ import annotations

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from simlora.serving.adapter_state import ABSENT, DRAINING, HOT, NOT_HOSTED
from simlora.serving.draining import WITHDRAWN
from simlora.serving.loading import PCIE
from simlora.serving.page_pool import ADAPTER, KV
from simlora.serving.request import COMPLETED, FAILED, RUNNING, WAITING, Request
from tests.property.draining_replica import ADAPTERS, KINDS, Replica, scenario_of


class Operator(RuleBasedStateMachine):
    """Requests, steps, transfers and withdrawals in any order."""

    @initialize(kind=st.sampled_from(sorted(KINDS)), room=st.integers(0, 30))
    def start(self, kind: str, room: int) -> None:
        self.replica = Replica(scenario_of(kind, room))

    @rule(
        adapter=st.integers(-1, ADAPTERS - 1),
        prompt_tokens=st.integers(1, 300),
        output_tokens=st.integers(1, 40),
    )
    def ask(self, adapter: int, prompt_tokens: int, output_tokens: int) -> None:
        self.replica.ask(adapter, prompt_tokens, output_tokens)

    @rule(adapter=st.integers(0, ADAPTERS - 1))
    def drain(self, adapter: int) -> None:
        self.replica.draining.drain(adapter)

    @rule(adapter=st.integers(0, ADAPTERS - 1))
    def undrain(self, adapter: int) -> None:
        self.replica.draining.undrain(adapter, self.replica.tick())

    @precondition(lambda self: not self.replica.stepping)
    @rule()
    def begin(self) -> None:
        self.replica.begin()
        for request in self.replica.scheduler.waiting_requests():
            state = request.adapter_state
            assert state is None or not state.withdrawn or self.replica.draining.pending

    @precondition(lambda self: self.replica.stepping)
    @rule()
    def end(self) -> None:
        self.replica.end()

    @precondition(lambda self: self.replica.transfers)
    @rule(number=st.integers(0, 50), failed=st.booleans())
    def carry(self, number: int, failed: bool) -> None:
        self.replica.carry(number % len(self.replica.transfers), failed=failed)

    @precondition(lambda self: self.replica.requests)
    @rule(number=st.integers(0, 1000))
    def give_up(self, number: int) -> None:
        request = self.replica.requests[number % len(self.replica.requests)]
        assume(request.status not in (COMPLETED, FAILED))
        self.replica.scheduler.withdrawals.give_up(request, "timeout", self.replica.tick())

    @invariant()
    def all_is_accounted_for(self) -> None:
        if hasattr(self, "replica"):
            self.replica.check()

    def teardown(self) -> None:
        if not hasattr(self, "replica"):
            return
        replica = self.replica
        replica.settle()
        replica.check()
        assert replica.scheduler.outstanding == 0
        assert replica.scheduler.memory.pool.held[KV] == 0
        for index in range(ADAPTERS):
            state = replica.state(index)
            assert not state.running and not state.waiting
            assert not (state.withdrawn and index in replica.watcher.resident)
        here = [r for r in replica.requests if r.reason != "turned away"]
        assert sorted(r.index for r in replica.ended) == [r.index for r in here], "each ends once"
        reasons = {request.reason for request in here if request.status == FAILED}
        assert reasons <= {WITHDRAWN, "timeout", "adapter_load"}
        assert all(request.status in (COMPLETED, FAILED) for request in here)


Operator.TestCase.settings = settings(deadline=None, max_examples=120, stateful_step_count=60)
TestOperator = Operator.TestCase


# --- one by one -----------------------------------------------------------------------------


def loaded(kind: str = "unified", **request: int) -> tuple[Replica, Request]:
    """A request of the first adapter in the batch."""
    replica = Replica(scenario_of(kind, 30))
    request_ = replica.ask(0, **request)
    while request_.status != RUNNING:
        replica.step()
        while replica.transfers:
            replica.carry()
    return replica, request_


def test_an_adapter_in_use_keeps_its_pages_until_the_last_leaves() -> None:
    replica, first = loaded(output_tokens=6)
    second = replica.ask(0, output_tokens=12)
    replica.step()
    pages = replica.scheduler.memory.pool.held[ADAPTER]
    replica.draining.drain(0)
    while second.status == RUNNING:
        assert replica.scheduler.memory.pool.held[ADAPTER] == pages
        replica.step()
    assert (first.status, second.status) == (COMPLETED, COMPLETED)
    assert replica.state(0).hot == ABSENT
    assert replica.scheduler.memory.pool.held[ADAPTER] == 0


def test_who_waits_for_it_or_comes_later_fails_and_others_do_not() -> None:
    replica, first = loaded(output_tokens=20)
    waiting, other = replica.ask(0), replica.ask(1)
    replica.draining.drain(0)
    replica.begin()
    assert (waiting.status, waiting.reason) == (FAILED, WITHDRAWN)
    late = replica.ask(0)
    replica.end()
    replica.begin()
    assert (late.status, late.reason) == (FAILED, WITHDRAWN)
    replica.settle()
    assert (first.status, other.status) == (COMPLETED, COMPLETED)


def test_one_that_is_preempted_has_left_and_fails() -> None:
    replica, request = loaded(output_tokens=20)
    replica.draining.drain(0)
    replica.step()
    assert replica.state(0).hot == DRAINING
    replica.scheduler.preempt(request, replica.tick())
    assert replica.state(0).hot == ABSENT, "the last user has gone"
    replica.settle()
    assert (request.status, request.reason) == (FAILED, WITHDRAWN)


@pytest.mark.parametrize("kind", ["unified", "exclusive"])
def test_nothing_of_it_is_kept_below_and_a_later_load_comes_from_the_store(kind: str) -> None:
    replica, _ = loaded(kind)
    replica.draining.drain(0)
    replica.settle()
    replica.draining.undrain(0, replica.tick())
    again = replica.ask(0)
    assert [transfer.link for transfer in replica.transfers] == [0]
    replica.settle()
    assert again.status == COMPLETED


def test_taken_back_while_it_drains_it_may_be_joined_at_once() -> None:
    replica, first = loaded(output_tokens=20)
    replica.draining.drain(0)
    replica.step()
    refused = replica.ask(0)
    replica.draining.undrain(0, replica.tick())
    joins = replica.ask(0)
    replica.step()
    assert (refused.status, refused.reason) == (FAILED, WITHDRAWN)
    assert (first.status, joins.status) == (RUNNING, RUNNING)
    assert replica.state(0).running == 2


def loading() -> tuple[Replica, Request]:
    """The first adapter is on its way to GPU memory, for a request, and withdrawn."""
    replica = Replica(scenario_of("unified", 30))
    request = replica.ask(0)
    replica.step()
    assert [transfer.link for transfer in replica.transfers] == [PCIE]
    replica.draining.drain(0)
    replica.step()
    assert (request.status, request.reason) == (FAILED, WITHDRAWN)
    assert replica.scheduler.memory.pool.held[ADAPTER] == replica.state(0).pages, "bytes come"
    return replica, request


@pytest.mark.parametrize("asked_again", [False, True])
def test_what_is_being_loaded_leaves_when_it_is_there(asked_again: bool) -> None:
    """Even if somebody asks for it who has not been told yet."""
    replica, _ = loading()
    if asked_again:
        replica.ask(0)
    replica.carry()
    assert replica.scheduler.memory.pool.held[ADAPTER] == 0
    replica.check()
    replica.settle()
    assert {request.reason for request in replica.requests} == {WITHDRAWN}


def test_what_is_being_loaded_and_taken_back_stays() -> None:
    replica, _ = loading()
    replica.draining.undrain(0, replica.tick())
    joins = replica.ask(0)
    replica.carry()
    replica.settle()
    assert joins.status == COMPLETED
    assert replica.scheduler.tiers.stats.loads == 1


@pytest.mark.parametrize("failed", [False, True])
def test_what_is_being_fetched_is_not_kept_and_not_fetched_again(failed: bool) -> None:
    replica = Replica(scenario_of("base meanwhile", 30))
    replica.scheduler.tiers.fetch(replica.state(0), replica.tick())
    replica.collect()
    replica.draining.drain(0)
    replica.step()
    replica.carry(failed=failed)
    assert not replica.transfers
    state = replica.state(0)
    assert (state.hot, state.host) == (ABSENT, NOT_HOSTED)
    replica.check()


@pytest.mark.parametrize("kind", ["base meanwhile", "turned away"])
def test_a_withdrawn_adapter_is_not_cold(kind: str) -> None:
    """Neither does the base model answer for it, nor is anybody asked to come again."""
    replica = Replica(scenario_of(kind, 30))
    replica.draining.drain(0)
    replica.step()
    request = replica.ask(0)
    replica.step()
    assert (request.status, request.reason) == (FAILED, WITHDRAWN)
    assert not replica.transfers


def test_taken_back_before_those_it_refused_are_told_it_is_loaded_for_the_next() -> None:
    replica = Replica(scenario_of("unified", 30))
    replica.draining.drain(0)
    replica.step()
    refused = replica.ask(0)
    replica.draining.undrain(0, replica.tick())
    assert (refused.status, refused.reason) == (FAILED, WITHDRAWN)
    served = replica.ask(0)
    replica.settle()
    assert served.status == COMPLETED


def test_a_pinned_adapter_makes_room_for_one_that_found_none() -> None:
    """Pinned, it could not be evicted: three slots, of which it holds the last."""
    replica = Replica(scenario_of("pinned", 30))
    long = [replica.ask(adapter, output_tokens=60) for adapter in (3, 0, 1)]
    for _ in range(5):
        replica.step()
        while replica.transfers:
            replica.carry()
    assert [request.status for request in long] == [RUNNING] * 3
    late = replica.ask(2, output_tokens=2)
    replica.scheduler.withdrawals.give_up(long[0], "timeout", replica.tick())
    replica.step()
    assert replica.state(3).hot == HOT and not replica.transfers, "idle, but it stays"
    replica.draining.drain(3)
    replica.step()
    assert [transfer.adapter.index for transfer in replica.transfers] == [2]
    replica.settle()
    assert late.status == COMPLETED


def test_a_pinned_adapter_makes_room_for_a_prompt_that_found_none() -> None:
    replica = Replica(scenario_of("pinned", 0))
    replica.ask(3, output_tokens=2)
    replica.settle()
    assert replica.state(3).hot == HOT
    running = replica.ask(-1, prompt_tokens=100, output_tokens=100)
    replica.step()
    memory = replica.scheduler.memory
    tokens = memory.pool.free // memory.block_pages * memory.plan.block_tokens
    waits = replica.ask(-1, prompt_tokens=tokens + 1, output_tokens=1)
    replica.step()
    assert (running.status, waits.status) == (RUNNING, WAITING)
    replica.draining.drain(3)
    replica.step()
    assert running.status == RUNNING
    replica.step()
    assert waits.status in (RUNNING, COMPLETED)
