"""A session stays on its replica while that is not overloaded."""

from __future__ import annotations

from collections import Counter

from simlora.serving.routing import SessionSticky
from tests.unit.serving.routing_fleet import fleet, numbered, request


def test_a_session_stays_where_it_began_although_others_have_less_to_do() -> None:
    router = SessionSticky(bound=2.0)
    assert router.choose(request(0, session=5), fleet(20, 10, 20)) == 1
    for load in (10, 20, 30):
        assert router.choose(request(0, session=5), fleet(20, load, 20)) == 1


def test_an_overloaded_replica_loses_the_session_for_good_to_the_least_loaded() -> None:
    router = SessionSticky(bound=1.5)
    assert router.choose(request(0, session=5), fleet(10, 10, 10)) == 0
    assert router.choose(request(0, session=5), fleet(40, 10, 9)) == 2
    assert router.choose(request(0, session=5), fleet(9, 10, 11)) == 2


def test_a_replica_with_few_requests_is_never_overloaded() -> None:
    router = SessionSticky(slack=8)
    assert router.choose(request(0, session=5), fleet(0, 0)) == 0
    assert router.choose(request(0, session=5), fleet(7, 0)) == 0
    assert router.choose(request(0, session=5), fleet(8, 0)) == 1


def test_new_sessions_go_to_the_least_loaded_and_of_equals_where_the_fewest_are() -> None:
    router = SessionSticky()
    assert router.choose(request(0, session=1), fleet(3, 1, 2)) == 1
    idle = fleet(0, 0, 0)
    chosen = Counter(router.choose(request(0, session=s), idle) for s in range(100, 129))
    assert chosen == {0: 10, 1: 9, 2: 10}  # one more was there


def test_a_session_follows_its_replicas_number_and_moves_only_if_that_is_gone() -> None:
    router, everyone = SessionSticky(), numbered(0, 1, 2, 3)
    begun = {s: everyone[router.choose(request(0, session=s), everyone)].number for s in range(40)}
    left = numbered(3, 1, 0)
    now = {s: left[router.choose(request(0, session=s), left)].number for s in range(40)}
    assert {s for s in begun if now[s] != begun[s]} == {s for s in begun if begun[s] == 2}
    again = numbered(1, 3, 0, 2)
    assert {s: again[router.choose(request(0, session=s), again)].number for s in range(40)} == now


def test_sessions_of_two_tenants_with_the_same_number_are_two() -> None:
    router = SessionSticky()
    assert router.choose(request(0, tenant=1, session=5), fleet(0, 9)) == 0
    assert router.choose(request(0, tenant=2, session=5), fleet(9, 0)) == 1
    assert router.choose(request(0, tenant=1, session=5), fleet(0, 0)) == 0


def test_without_a_session_the_adapter_or_else_the_tenant_decides() -> None:
    router, idle = SessionSticky(), fleet(0, 0, 0, 0)
    by_adapter = {a: router.choose(request(a, tenant=a % 3), idle) for a in range(200)}
    assert all(router.choose(request(a, 999), idle) == by_adapter[a] for a in range(200))
    by_tenant = [router.choose(request(-1, t, tenant=t), idle) for t in range(200)]
    assert [router.choose(request(-1, 999, tenant=t), idle) for t in range(200)] == by_tenant
    assert all(Counter(by_adapter.values())[replica] > 30 for replica in range(4))
    assert all(Counter(by_tenant)[replica] > 30 for replica in range(4))
    assert len(router) == 0
    busy = fleet(*(20 if index == by_adapter[7] else 0 for index in range(4)))
    assert router.choose(request(7), busy) != by_adapter[7]


def test_silent_sessions_are_forgotten() -> None:
    router = SessionSticky(forget_after_s=100.0)
    router.choose(request(0, session=1, arrival_s=0.0), fleet(0, 5))
    router.choose(request(0, session=2, arrival_s=10.0), fleet(0, 5))
    router.choose(request(0, session=1, arrival_s=50.0), fleet(0, 5))
    assert router.choose(request(0, session=1, arrival_s=150.0), fleet(5, 0)) == 0
    assert len(router) == 1
    assert router.choose(request(0, session=2, arrival_s=150.0), fleet(5, 0)) == 1


def test_no_more_than_so_many_sessions_are_remembered_and_the_latest_ones() -> None:
    router = SessionSticky(most_sessions=10)
    for session in range(25):
        router.choose(request(0, session=session), fleet(0, 5))
        assert len(router) <= 10
    assert [router.choose(request(0, session=s), fleet(5, 0)) for s in (24, 20, 3)] == [0, 0, 1]
