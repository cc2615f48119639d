"""A head that has most of the requests, and a tail that has the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.scenario.traffic import Top
from simlora.workload.popularity import shares_by_rank
from tests.unit.workload.deploying import deploy, requests_of


def top(count: int, share: float, zipf: float = 0.0) -> Top:
    return Top.model_validate({"top": {"count": count, "share": share, "zipf": zipf}})


@pytest.mark.parametrize("zipf", [0.0, 0.9, 3.0])
@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (8, 0.95), (99, 0.01), (8, 1.0)])
def test_shares_sum_to_1_and_the_head_has_its_own(count: int, share: float, zipf: float) -> None:
    shares = shares_by_rank(top(count, share, zipf), 100)
    assert len(shares) == 100
    assert shares.sum() == pytest.approx(1.0)
    assert shares[:count].sum() == pytest.approx(share)
    assert (shares >= 0).all()


def test_in_head_and_tail_all_are_alike_or_follow_zipf() -> None:
    flat = shares_by_rank(top(4, 0.8), 12)
    assert flat == pytest.approx([0.2] * 4 + [0.025] * 8)
    ranked = shares_by_rank(top(3, 0.5, zipf=2.0), 6)
    assert ranked[:3] / ranked[0] == pytest.approx([1, 1 / 4, 1 / 9])
    assert ranked[3:] / ranked[3] == pytest.approx([1, 1 / 4, 1 / 9])


def test_requests_come_in_these_shares() -> None:
    """Within four standard deviations."""
    popularity: Any = {"top": {"count": 5, "share": 0.9}}
    block = requests_of(deploy(rate_rps=1000.0, max_requests=50_000, popularity=popularity))
    counts = np.sort(np.bincount(block.adapter, minlength=50))[::-1]
    assert counts[:5].sum() / 50_000 == pytest.approx(0.9, abs=4 * (0.9 * 0.1 / 50_000) ** 0.5)
    assert counts[:5] / 50_000 == pytest.approx([0.18] * 5, abs=4 * (0.18 / 50_000) ** 0.5)
    assert counts[5] / 50_000 < 0.004


def test_the_head_is_drawn_by_the_seed() -> None:
    popularity: Any = {"top": {"count": 5, "share": 0.9}}

    def head(seed: int) -> set[int]:
        block = requests_of(
            deploy(rate_rps=100.0, max_requests=5000, popularity=popularity, seed=seed)
        )
        return set(np.argsort(np.bincount(block.adapter, minlength=50))[-5:].tolist())

    assert head(0) == head(0)
    assert head(0) != head(1)


@pytest.mark.parametrize("count", [50, 51])
def test_a_head_of_all_adapters_is_refused(count: int) -> None:
    with pytest.raises(UserError, match=f"less than the 50 adapters there are, not {count}"):
        deploy(rate_rps=1.0, popularity={"top": {"count": count, "share": 0.9}})
    deploy(rate_rps=1.0, popularity={"top": {"count": 49, "share": 0.9}})
