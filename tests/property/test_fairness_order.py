"""Strict priority and ageing: who may overtake whom."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.serving.fairness import QueueDiscipline
from simlora.serving.request import Request
from tests.property.fairness_server import flow_table, make

WEIGHTS = (10.0, 1.0, 3.0, 3.0)
CLASSES = (0, 2, 1, 1)  # of the tiers, from the highest weight

# Seconds since the last arrival, tier, priority, prompt, output tokens; requests served then.
ARRIVALS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, 0.7, 3.0]),
        st.integers(0, 3),
        st.integers(0, 2),
        st.integers(1, 400),
        st.integers(1, 400),
        st.integers(0, 2),
    ),
    max_size=60,
)


def stories(
    policy: str, arrivals: list[tuple[float, int, int, int, int, int]], age_s: float | None
) -> list[tuple[float, Request, list[Request]]]:
    """Every pick: when, who, and who else was waiting."""
    queue = make(policy, flow_table(WEIGHTS), age_s=age_s, oracle=True)
    picks = []
    now = 0.0

    def pop() -> None:
        served = queue.pop(now)
        picks.append((now, served, list(queue)))

    for index, (gap_s, tier, priority, prompt, output, pops) in enumerate(arrivals):
        now += gap_s
        request = Request(index, now, tier, tier, -1, prompt, output, priority=priority)
        queue.push(request, now)
        for _ in range(min(pops, len(queue))):
            pop()
    while len(queue):
        now += 0.3
        pop()
    return picks


@settings(max_examples=200)
@given(arrivals=ARRIVALS)
def test_strict_priority_never_serves_a_lower_class_while_a_higher_one_waits(
    arrivals: list[tuple[float, int, int, int, int, int]],
) -> None:
    for _, served, others in stories("priority", arrivals, None):
        place = (CLASSES[served.tier], -served.priority, served.index)
        for other in others:
            assert place < (CLASSES[other.tier], -other.priority, other.index)


@settings(max_examples=200)
@given(arrivals=ARRIVALS, age_s=st.sampled_from([0.1, 0.3, 1.0, 7.0]))
def test_with_ageing_nothing_is_overtaken_once_it_has_waited_age_s_for_every_class(
    arrivals: list[tuple[float, int, int, int, int, int]], age_s: float
) -> None:
    for now, served, others in stories("priority", arrivals, age_s):
        for other in others:
            if served.index > other.index:  # it overtakes
                lifts = CLASSES[other.tier] + 1
                assert now - other.arrival_s < lifts * age_s + 1e-9
                # And while it may, it does so by a class that is no lower than the other's is now.
                lifted = CLASSES[other.tier] - int((now - other.arrival_s) / age_s + 1e-9)
                ahead = CLASSES[served.tier] - int((now - served.arrival_s) / age_s + 1e-9)
                assert ahead <= lifted


@pytest.mark.parametrize("policy", ["priority", "sjf"])
@settings(max_examples=60)
@given(
    arrivals=ARRIVALS,
    crowding=st.sampled_from([0.2, 1.0, 2.0]),
    age_s=st.sampled_from([0.5, 2.0, 10.0]),
)
def test_with_ageing_a_wait_is_at_most_that_of_fcfs_and_of_what_arrives_in_a_bounded_time(
    policy: str,
    arrivals: list[tuple[float, int, int, int, int, int]],
    crowding: float,
    age_s: float,
) -> None:
    """Each request takes a second, so a request waits as under FCFS, and a second for each one that
    overtakes it, which must come within `reach_s`: else it would be overtaken for ever."""
    asks = []
    now = 0.0
    for index, (gap_s, tier, priority, prompt, output, _) in enumerate(arrivals):
        now += gap_s * crowding
        asks.append(Request(index, now, tier, tier, -1, prompt, output, priority=priority))
    waits_s = waits(make(policy, flow_table(WEIGHTS), age_s=age_s, oracle=True), asks)
    fcfs_s = waits(make("fcfs", flow_table(WEIGHTS)), asks)
    for ask in asks:
        if policy == "priority":
            reach_s = age_s * (CLASSES[ask.tier] + 1)
        else:
            reach_s = age_s * log2(cost(ask) / min(cost(other) for other in asks))
        latest_s = ask.arrival_s + reach_s + 1e-9
        within = sum(
            ask.arrival_s <= other.arrival_s <= latest_s for other in asks[ask.index + 1 :]
        )
        assert waits_s[ask.index] <= fcfs_s[ask.index] + within + 1e-9


def waits(queue: QueueDiscipline, asks: list[Request]) -> dict[int, float]:
    """How long each request waits at a server that takes a second for each."""
    waited_s: dict[int, float] = {}
    free_s = 0.0
    coming = list(reversed(asks))
    while coming or len(queue):
        start_s = free_s if len(queue) else max(free_s, coming[-1].arrival_s)
        while coming and coming[-1].arrival_s <= start_s:
            ask = coming.pop()
            queue.push(ask, ask.arrival_s)
        served = queue.pop(start_s)
        waited_s[served.index] = start_s - served.arrival_s
        free_s = start_s + 1
    return waited_s


@settings(max_examples=200)
@given(arrivals=ARRIVALS, age_s=st.sampled_from([0.1, 1.0, 7.0]))
def test_sjf_with_ageing_lets_a_request_be_overtaken_only_by_what_arrives_in_a_bounded_time(
    arrivals: list[tuple[float, int, int, int, int, int]], age_s: float
) -> None:
    for _, served, others in stories("sjf", arrivals, age_s):
        for other in others:
            if served.index > other.index:
                ratio = cost(other) / cost(served)
                assert ratio > 1
                assert served.arrival_s - other.arrival_s <= age_s * log2(ratio) + 1e-9


@settings(max_examples=100)
@given(arrivals=ARRIVALS)
def test_sjf_without_ageing_always_serves_the_shortest(
    arrivals: list[tuple[float, int, int, int, int, int]],
) -> None:
    for _, served, others in stories("sjf", arrivals, None):
        assert all(cost(served) <= cost(other) for other in others)


def cost(request: Request) -> float:
    return request.prompt_tokens + 2.0 * request.output_tokens
