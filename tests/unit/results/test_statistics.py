"""Distributions: exact while small, within their stated error when folded."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.results.statistics import RELATIVE_ERROR, Distribution
from simlora.results.tenant_quantiles import TenantQuantiles

QS = (0.0, 0.01, 0.5, 0.9, 0.99, 1.0)
values = st.lists(st.floats(0, 1e6), min_size=1, max_size=60)


@given(values)
def test_unweighted_quantiles_are_numpys(numbers: list[float]) -> None:
    distribution = Distribution()
    for number in numbers:
        distribution.add(np.array([number]))
    assert distribution.mean == pytest.approx(np.mean(numbers))
    for q in QS:
        expected = np.quantile(numbers, q)
        assert distribution.quantile(q) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(1, 9)), min_size=1, max_size=60))
def test_a_weight_counts_a_value_that_often(pairs: list[tuple[float, int]]) -> None:
    distribution = Distribution()
    distribution.add(np.array([v for v, _ in pairs]), np.array([float(w) for _, w in pairs]))
    repeated = np.repeat([v for v, _ in pairs], [w for _, w in pairs])
    assert distribution.weight == len(repeated)
    assert distribution.mean == pytest.approx(repeated.mean())
    for q in (0.1, 0.5, 0.99):
        assert distribution.quantile(q) == np.quantile(repeated, q, method="inverted_cdf")


@given(values)
def test_folded_quantiles_keep_their_error(numbers: list[float]) -> None:
    folded = Distribution(exact_values=0)
    folded.add(np.array(numbers))
    assert not folded.exact
    assert folded.mean == pytest.approx(np.mean(numbers))
    for q in QS:
        expected = float(np.quantile(numbers, q, method="inverted_cdf"))
        assert folded.quantile(q) == pytest.approx(expected, rel=RELATIVE_ERROR * 1.001, abs=1e-7)


def test_folding_starts_above_the_limit_and_keeps_what_was_there() -> None:
    distribution = Distribution(exact_values=1000)
    numbers = np.random.default_rng(0).lognormal(size=1001)
    distribution.add(numbers[:1000])
    assert distribution.exact
    exact_p90 = distribution.quantile(0.9)
    distribution.add(numbers[1000:])
    assert not distribution.exact
    assert distribution.size == 1001
    assert distribution.quantile(0.9) == pytest.approx(exact_p90, rel=0.01)


@pytest.mark.parametrize("folded", [False, True])
def test_a_merge_is_the_distribution_of_both(folded: bool) -> None:
    rng = np.random.default_rng(1)
    parts = rng.lognormal(size=(2, 500))
    whole = Distribution()
    for part in parts:
        distribution = Distribution(exact_values=0 if folded else 500)
        distribution.add(part)
        whole.merge(distribution)
    assert whole.exact is not folded
    assert whole.size == 1000
    assert whole.mean == pytest.approx(parts.mean())
    assert whole.quantile(0.99) == pytest.approx(np.quantile(parts, 0.99), rel=0.05)


def test_nothing_has_no_mean_and_no_quantile() -> None:
    empty = Distribution()
    assert math.isnan(empty.mean)
    assert math.isnan(empty.quantile(0.5))


@pytest.mark.parametrize("exact_values", [10_000, 0])
def test_tenants_have_the_quantiles_of_their_own_values(exact_values: int) -> None:
    rng = np.random.default_rng(2)
    tenant = rng.integers(0, 20, 5000).astype(np.int32)
    numbers = rng.lognormal(size=5000) * (1 + tenant)
    quantiles = TenantQuantiles(21, exact_values)
    for part in np.array_split(np.arange(5000), 7):
        quantiles.add(tenant[part], numbers[part])
    assert quantiles.exact == (exact_values > 0)
    p50, p99 = quantiles.quantiles((0.5, 0.99))
    assert math.isnan(p50[20])
    for index in range(20):
        own = numbers[tenant == index]
        p50_of, p99_of = (
            np.quantile(own, (0.5, 0.99))
            if quantiles.exact
            else np.quantile(own, (0.5, 0.99), method="inverted_cdf")
        )
        error = max(quantiles.relative_error * 1.001, 1e-12)
        assert p50[index] == pytest.approx(p50_of, rel=error)
        assert p99[index] == pytest.approx(p99_of, rel=error)
