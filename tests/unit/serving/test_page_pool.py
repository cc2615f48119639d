"""Pages are counted by owner and never lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.serving.page_pool import ADAPTER, KV, PREFIX, OutOfPages, PagePool


def state(pool: PagePool) -> tuple[object, ...]:
    return pool.free, tuple(pool.held), tuple(pool.peak), pool.allocated_total, pool.freed_total


def test_asking_for_more_than_is_free_raises_and_changes_nothing() -> None:
    pool = PagePool(10)
    pool.allocate(KV, 7)
    before = state(pool)
    with pytest.raises(OutOfPages, match="4 pages asked for, 3 free"):
        pool.allocate(ADAPTER, 4)
    assert state(pool) == before
    pool.allocate(ADAPTER, 3)
    assert pool.free == 0


def test_a_transfer_changes_the_owner_and_nothing_else() -> None:
    pool = PagePool(10)
    pool.allocate(KV, 6)
    pool.transfer(KV, PREFIX, 4)
    assert (pool.free, pool.held) == (4, [2, 4, 0])
    assert (pool.allocated_total, pool.freed_total) == (6, 0)
    assert pool.peak == [6, 4, 0]


def test_the_peak_is_the_most_ever_held() -> None:
    pool = PagePool(10)
    pool.allocate(KV, 8)
    pool.release(KV, 8)
    pool.allocate(KV, 2)
    assert pool.peak[KV] == 8


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["allocate", "release", "transfer"]),
            st.integers(0, 2),
            st.integers(0, 2),
            st.integers(0, 60),
        )
    )
)
def test_pages_are_conserved_whatever_is_done(actions: list[tuple[str, int, int, int]]) -> None:
    pool = PagePool(100)
    for action, owner, target, pages in actions:
        if action == "allocate":
            if pages > pool.free:
                with pytest.raises(OutOfPages):
                    pool.allocate(owner, pages)
            else:
                pool.allocate(owner, pages)
        elif action == "release":
            pool.release(owner, min(pages, pool.held[owner]))
        else:
            pool.transfer(owner, target, min(pages, pool.held[owner]))
        pool.check()


@pytest.mark.parametrize("owner", [KV, PREFIX, ADAPTER])
def test_the_check_notices_pages_given_back_that_were_never_taken(owner: int) -> None:
    pool = PagePool(10)
    pool.release(owner, 1)
    with pytest.raises(AssertionError):
        pool.check()


def test_the_check_notices_a_lost_page() -> None:
    pool = PagePool(10)
    pool.allocate(KV, 5)
    pool.held[KV] -= 1
    with pytest.raises(AssertionError):
        pool.check()
