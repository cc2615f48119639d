from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.workload.arrivals.renewal import Weibull, weibull_shape
from simlora.workload.randomness import Purpose
from tests.unit.workload.deploying import deploy, gaps, requests_of

FIXED: dict[str, Any] = {"prompt_tokens": {"fixed": 8}, "output_tokens": {"fixed": 8}}


@pytest.mark.parametrize(
    ("arrivals", "cv"),
    [
        ("poisson", 1.0),
        ("constant", 0.0),
        ("gamma", 2.0),
        ({"gamma": {"cv": 0.5}}, 0.5),
        ({"gamma": {"cv": 3.0}}, 3.0),
        ("weibull", 2.0),
        ({"weibull": {"cv": 0.4}}, 0.4),
        ({"weibull": {"cv": 3.0}}, 3.0),
    ],
)
def test_gaps_have_the_asked_mean_and_variation(arrivals: Any, cv: float) -> None:
    count = 200_000
    block = requests_of(deploy(rate_rps=20.0, max_requests=count, arrivals=arrivals, **FIXED))
    found = gaps(block)
    assert len(block) == count
    assert found.min() >= 0
    assert found.mean() == pytest.approx(1 / 20, rel=max(5 * cv / count**0.5, 1e-9))
    assert found.std() / found.mean() == pytest.approx(cv, rel=0.05, abs=1e-6)


@pytest.mark.parametrize("cv", [0.01, 0.3, 1.0, 2.0, 10.0, 100.0])
def test_a_weibull_shape_gives_its_cv_back(cv: float) -> None:
    shape = weibull_shape(cv)
    if cv == 1.0:
        assert shape == pytest.approx(1.0)
    # Quadrature over quantiles: an independent way to the moments, good where the tail is light.
    if cv <= 1.0:
        probabilities = (np.arange(1_000_000) + 0.5) / 1_000_000
        draws = (-np.log1p(-probabilities)) ** (1 / shape)
        assert draws.std() / draws.mean() == pytest.approx(cv, rel=0.01)


def test_a_weibull_cv_out_of_reach_is_refused() -> None:
    with pytest.raises(UserError, match="cv 1e-05 cannot be drawn"):
        Weibull(1e-5)


def test_mmpp_keeps_the_mean_rate_and_bursts() -> None:
    shape = {"burst_factor": 8.0, "calm_s": 6.0, "burst_s": 2.0}
    block = requests_of(deploy(rate_rps=20.0, duration_s=40_000, arrivals={"mmpp": shape}, **FIXED))
    assert len(block) / 40_000 == pytest.approx(20.0, rel=0.03)
    # Rates in the two states: 20 * 8 / (6 + 8 * 2) and eight times that.
    calm = 20 * 8 / 22
    per_half_second = np.bincount((block.arrival_s * 2).astype(int), minlength=80_000) * 2
    assert np.mean(per_half_second < 2.5 * calm) == pytest.approx(0.75, abs=0.04)
    assert per_half_second.max() > 8 * calm


def test_the_diurnal_peak_is_where_and_as_high_as_asked() -> None:
    shape = {"period_s": 1000.0, "peak_to_trough": 4.0, "peak_at_s": 300.0}
    block = requests_of(
        deploy(rate_rps=50.0, duration_s=20_000, arrivals={"diurnal": shape}, **FIXED)
    )
    by_phase = np.bincount((block.arrival_s % 1000 // 100).astype(int), minlength=10)
    assert len(block) / 20_000 == pytest.approx(50.0, rel=0.01)
    assert set(np.argsort(by_phase)[-2:]) == {2, 3}
    assert set(np.argsort(by_phase)[:2]) == {7, 8}
    # Mean over the 0.2 periods around each: a * sin(0.2 pi) / (0.2 pi), a = 3/5.
    swing = 0.6 * np.sin(0.2 * np.pi) / (0.2 * np.pi)
    ratio = by_phase[2:4].sum() / by_phase[7:9].sum()
    assert ratio == pytest.approx((1 + swing) / (1 - swing), rel=0.03)


class EveryThird:
    """Someone's own process: three at once."""

    def times(
        self, rate_rps: float, stream: Callable[[Purpose], np.random.Generator]
    ) -> Iterator[np.ndarray]:
        start = 0.0
        while True:
            yield start + np.repeat(np.arange(100.0), 3) * 3 / rate_rps
            start += 300 / rate_rps


class Backwards(EveryThird):
    """A faulty one."""

    def times(
        self, rate_rps: float, stream: Callable[[Purpose], np.random.Generator]
    ) -> Iterator[np.ndarray]:
        yield np.array([2.0, 1.0])


def test_ones_own_process_is_named_by_its_dotted_path() -> None:
    path = f"{EveryThird.__module__}:EveryThird"
    block = requests_of(deploy(rate_rps=3.0, duration_s=200, arrivals=path))
    assert block.arrival_s[:6].tolist() == [0, 0, 0, 1, 1, 1]
    assert len(block) == 600


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("no.such.module:Class", "cannot make"),
        ("json:NoSuchClass", "cannot make"),
        ("json:JSONDecoder", "makes no ArrivalProcess .it lacks times"),
        (f"{__name__}:Backwards", "not ascending"),
    ],
)
def test_a_dotted_path_that_leads_nowhere_is_told(path: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        requests_of(deploy(rate_rps=3.0, arrivals=path))


class Lists:
    def times(self, rate_rps: float, stream: object) -> Iterator[list[float]]:
        yield [1.0, 2.0]
        yield ["soon"]  # type: ignore[list-item]


def test_ones_own_process_may_yield_lists_but_only_of_numbers() -> None:
    path = "tests.unit.workload.test_arrivals:Lists"
    few = deploy(arrivals=path, rate_rps=1.0, max_requests=2)
    assert requests_of(few).arrival_s.tolist() == [1.0, 2.0]
    with pytest.raises(UserError, match="must yield arrays of seconds"):
        requests_of(deploy(arrivals=path, rate_rps=1.0, max_requests=3))


@pytest.mark.parametrize(
    "arrivals",
    [
        {"mmpp": {"calm_s": 0.001, "burst_s": 0.001}},
        {"mmpp": {"burst_factor": 10_000.0}},
        {"gamma": {"cv": 100.0}},
        {"weibull": {"cv": 0.01}},
        {"diurnal": {"period_s": 1e-9}},
    ],
)
def test_extreme_shapes_end_within_the_window(arrivals: Any) -> None:
    block = requests_of(deploy(arrivals=arrivals, rate_rps=5.0, duration_s=600.0))
    assert (np.diff(block.arrival_s) >= 0).all()
    assert len(block) == 0 or block.arrival_s[-1] < 600.0


def test_short_sojourns_are_followed_exactly() -> None:
    arrivals = {"mmpp": {"burst_factor": 9.0, "calm_s": 0.5, "burst_s": 0.5}}
    block = requests_of(deploy(arrivals=arrivals, rate_rps=10.0, duration_s=20_000.0))
    assert len(block) == pytest.approx(200_000, rel=0.02)
    assert (gaps(block) >= 0).all()
