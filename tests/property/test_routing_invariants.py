"""Laws that hold for routers whatever the fleet, its load and the requests."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.serving.routing import ROUTING, AdapterAffinity, SessionSticky, likely_replica
from simlora.serving.routing.rendezvous import Rendezvous
from tests.unit.serving.routing_fleet import numbered, real_replicas, request

MOST_REPLICAS = 8
FLEET = real_replicas(MOST_REPLICAS)

requests: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    adapter=st.integers(-1, 3),
    tenant=st.integers(0, 3),
    session=st.integers(-1, 5),
    arrival_s=st.floats(0, 1e4),
    prompt_tokens=st.integers(1, 100),
    hashes=st.none() | st.lists(st.integers(0, 9), max_size=6),
)
# Who is there, in what order, and how much each has to do.
fleets = st.lists(
    st.tuples(st.integers(0, MOST_REPLICAS - 1), st.integers(0, 40)),
    min_size=1,
    max_size=MOST_REPLICAS,
    unique_by=lambda one: one[0],
)
loads = st.lists(st.integers(0, 1000), min_size=1, max_size=12)


@pytest.mark.parametrize("name", ROUTING.names())
@given(calls=st.lists(st.tuples(requests, fleets, st.booleans()), min_size=1, max_size=30))
@settings(max_examples=60)
def test_every_router_chooses_one_of_those_there_however_they_come_and_go(
    name: str, calls: list[tuple[dict[str, Any], list[tuple[int, int]], bool]]
) -> None:
    router = ROUTING.make(name)
    for index, (who, there, answered) in enumerate(calls):
        replicas = [FLEET[number] for number, _ in there]
        for replica, (_, outstanding) in zip(replicas, there, strict=True):
            replica.outstanding = outstanding
        asked = request(index=index, **who)
        likely = [likely_replica(router, max(asked.adapter, 0), replicas) for _ in range(2)]
        assert likely[0] == likely[1]
        assert 0 <= likely[0] < len(replicas)
        chosen = router.choose(asked, replicas)
        assert 0 <= chosen < len(replicas)
        if answered and hasattr(router, "finished"):
            asked.enqueued_s = asked.arrival_s
            asked.first_token_s = asked.finish_s = asked.arrival_s + 0.1
            router.finished(asked, replicas[chosen])


@pytest.mark.parametrize("name", ROUTING.names())
@given(calls=st.lists(st.tuples(requests, fleets), min_size=1, max_size=20))
@settings(max_examples=30)
def test_every_router_makes_the_same_choices_again(
    name: str, calls: list[tuple[dict[str, Any], list[tuple[int, int]]]]
) -> None:
    runs = []
    for _ in range(2):
        router = ROUTING.make(name)
        chosen = []
        for index, (who, there) in enumerate(calls):
            replicas = [FLEET[number] for number, _ in there]
            for replica, (_, outstanding) in zip(replicas, there, strict=True):
                replica.outstanding = outstanding
            chosen.append(router.choose(request(index=index, **who), replicas))
        runs.append(chosen)
    assert runs[0] == runs[1]


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(-1, 20), st.integers(0, 11)), max_size=150),
    st.floats(1.0, 3.0),
)
def test_affinity_keeps_every_load_within_its_bound_as_requests_come_and_go(
    count: int, events: list[tuple[int, int]], bound: float
) -> None:
    """Each event is a request, and perhaps the end of one on some replica before it."""
    router, replicas = AdapterAffinity(bound), numbered(*range(count))
    for index, (adapter, ending) in enumerate(events):
        if ending < count and replicas[ending].outstanding:
            replicas[ending].outstanding -= 1
        chosen = replicas[router.choose(request(adapter, index), replicas)]
        chosen.outstanding += 1
        total = sum(replica.outstanding for replica in replicas)
        assert chosen.outstanding < bound * total / count + 1


@given(loads, st.lists(st.integers(-1, 9), min_size=1, max_size=20), st.floats(0.5, 4.0))
def test_sticky_sessions_never_go_to_an_overloaded_replica(
    before: list[int], sessions: list[int], bound: float
) -> None:
    router, replicas = SessionSticky(bound, slack=4), numbered(*range(len(before)))
    for index, session in enumerate(sessions):
        for replica, load in zip(replicas, before, strict=True):
            replica.outstanding = load
        chosen = router.choose(request(index % 5, index, session=session), replicas)
        assert before[chosen] < max(4, max(bound, 1.0) * (sum(before) + 1) / len(before))
        before = [*before[1:], before[0]]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1000)), max_size=80),
    st.integers(1, 10),
)
def test_sticky_routers_count_the_sessions_they_hold(
    calls: list[tuple[int, float]], most: int
) -> None:
    router = SessionSticky(forget_after_s=200.0, most_sessions=most)
    for index, (session, arrival_s) in enumerate(calls):
        asked = request(0, index, session=session, arrival_s=arrival_s)
        router.choose(asked, numbered(0, 1, 2))
        held = Counter(number for number, _ in router._sessions.values())
        assert held == +router._held
        assert min(router._held.values()) >= 0
        assert 1 <= len(router) <= most


@given(
    st.lists(st.integers(0, 10**6), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(-5, 10**6), min_size=1, max_size=20),
    st.data(),
)
def test_losing_a_replica_leaves_the_order_of_the_others_as_it_was(
    numbers: list[int], keys: list[int], data: st.DataObject
) -> None:
    lost = data.draw(st.sampled_from(numbers))
    left = data.draw(st.permutations([number for number in numbers if number != lost]))
    homes = Rendezvous()
    for key in keys:
        before = [numbers[index] for index in homes.order(key, numbers)]
        after = [left[index] for index in homes.order(key, left)]
        assert after == [number for number in before if number != lost]
