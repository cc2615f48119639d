"""Transfers share a link fairly."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simpy import Environment
from simpy.events import Event

from simlora.serving.adapter_state import AdapterState
from simlora.serving.loading import PCIE, Transfer
from simlora.sim.link import Link

RATE = 1000.0  # bytes per second


def carry(transfers: list[tuple[float, float, int]]) -> tuple[list[float], Link]:
    """When transfers of (start, latency, bytes) are done."""
    env = Environment()
    done: dict[int, float] = {}
    link = Link(env, RATE, lambda transfer: done.update({transfer.adapter.index: env.now}))

    def carry_one(
        index: int, start_s: float, latency_s: float, nbytes: int
    ) -> Generator[Event, None, None]:
        yield env.timeout(start_s)
        link.start(Transfer(AdapterState(index, 0, nbytes, 0, False), PCIE, latency_s, nbytes))

    for index, transfer in enumerate(transfers):
        env.process(carry_one(index, *transfer))
    env.run()
    return [done[index] for index in range(len(transfers))], link


def test_alone_it_takes_latency_and_bytes_over_bandwidth() -> None:
    done, link = carry([(2.0, 0.5, 3000)])
    assert done == pytest.approx([5.5])
    order = Transfer(AdapterState(0, 0, 3000, 0, False), PCIE, 0.5, 3000)
    assert link.alone_s(order) == pytest.approx(3.5)


def test_two_share_the_bandwidth_evenly() -> None:
    assert carry([(0.0, 0.0, 1000), (0.0, 0.0, 1000)])[0] == pytest.approx([2.0, 2.0])


def test_the_shorter_one_leaves_all_of_it_to_the_longer() -> None:
    assert carry([(0.0, 0.0, 1000), (0.0, 0.0, 3000)])[0] == pytest.approx([2.0, 4.0])


def test_a_later_one_slows_down_the_rest_only() -> None:
    """1,000 bytes are over after a second; both then share until the first is done."""
    assert carry([(0.0, 0.0, 2000), (1.0, 0.0, 2000)])[0] == pytest.approx([3.0, 4.0])


def test_latencies_pass_side_by_side_without_taking_bandwidth() -> None:
    done, _ = carry([(0.0, 1.0, 1000), (0.0, 1.0, 1000), (0.0, 0.0, 500)])
    assert done == pytest.approx([3.0, 3.0, 0.5])


def test_nothing_to_move_takes_the_latency() -> None:
    assert carry([(1.0, 0.25, 0)])[0] == pytest.approx([1.25])


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 5), st.integers(0, 10**6)),
        min_size=1,
        max_size=12,
    )
)
def test_all_arrive_no_faster_than_alone_and_no_later_than_one_after_the_other(
    transfers: list[tuple[float, float, int]],
) -> None:
    done, link = carry(transfers)
    assert link.active == 0
    for end_s, (start_s, latency_s, nbytes) in zip(done, transfers, strict=True):
        assert end_s >= start_s + latency_s + nbytes / RATE - 1e-6
    last_start_s = max(start_s + latency_s for start_s, latency_s, _ in transfers)
    assert max(done) <= last_start_s + sum(nbytes for *_, nbytes in transfers) / RATE + 1e-6
