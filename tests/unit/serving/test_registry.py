"""Policies are found by name or by dotted path, and a mistake is explained."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from simlora.errors import UserError
from simlora.serving.eviction import EVICTION, LRU
from simlora.serving.queue_order import QUEUE_ORDER
from simlora.serving.routing import ROUTING
from tests.simulating import Ask, run, small_scenario


class MostRecentFirst(LRU):
    """Evicts what was used last: the opposite of LRU."""

    def victims(self) -> Iterator[int]:
        return reversed(self._order)


class Demanding(LRU):
    """Cannot be made without an argument."""

    def __init__(self, size: int) -> None:
        super().__init__()


HERE = "tests.unit.serving.test_registry"


def test_built_in_policies_have_names() -> None:
    assert isinstance(EVICTION.make("lru"), LRU)
    assert {"fcfs", "prefix_first", "priority", "strict_fcfs"} <= set(QUEUE_ORDER.names())
    assert {"adapter_affinity", "least_loaded", "round_robin"} <= set(ROUTING.names())


def test_an_unknown_name_is_answered_with_the_nearest_and_all_allowed() -> None:
    with pytest.raises(UserError) as caught:
        ROUTING.make("least_load")
    assert str(caught.value) == (
        "gateway.routing: unknown name 'least_load'; did you mean 'least_loaded'? allowed are "
        f"{', '.join(ROUTING.names())} or a dotted path package.module:Class"
    )


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no.such.module:Policy", "cannot make 'no.such.module:Policy': ModuleNotFoundError: No"),
        (f"{HERE}:Missing", "has no attribute 'Missing'"),
        (f"{HERE}:HERE", "a str is not a class"),
        (":Policy", "cannot make ':Policy'"),
        (f"{HERE}:Demanding", "TypeError: "),
        (
            "os:getcwd",
            "makes no EvictionPolicy (it lacks on_insert, on_access, on_remove, victims)",
        ),
    ],
)
def test_a_dotted_path_to_no_policy_is_a_users_mistake(path: str, problem: str) -> None:
    with pytest.raises(UserError, match=r"^adapters\.warm\.eviction: ") as caught:
        EVICTION.make(path, field="adapters.warm.eviction")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("eviction", "last_source"), [("lru", "warm"), (f"{HERE}:MostRecentFirst", "hot")]
)
def test_a_scenario_may_bring_its_own_eviction_policy(eviction: str, last_source: str) -> None:
    """Two places, three adapters; the third one evicts the first by LRU, the second by MRU."""
    scenario = small_scenario(
        adapters={"hot": {"eviction": eviction, "max_adapters": 2}, "initial_tier": "warm"}
    )
    finished = run(
        scenario, [Ask(float(second), adapter) for second, adapter in enumerate((0, 1, 2, 0))]
    )
    assert finished.requests[-1].adapter_source == {"hot": 1, "warm": 2}[last_source]
