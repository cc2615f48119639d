"""Tenant groups may ask for lengths of their own; nothing else of the traffic changes by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simlora.workload import open_traffic
from simlora.workload.demand import tenant_demand
from tests.unit.workload.deploying import COLUMNS, deploy, requests_of

PLAIN: list[dict[str, Any]] = [{"name": "chat", "count": 20}, {"name": "docs", "count": 5}]
LONG: list[dict[str, Any]] = [
    PLAIN[0],
    PLAIN[1]
    | {"prompt_tokens": {"fixed": 5000}, "output_tokens": {"uniform": {"min": 1, "max": 9}}},
]
ARRIVALS = ["poisson", {"sessions": {"turns_mean": 1, "max_context_tokens": 50_000}}]


@pytest.mark.parametrize("arrivals", ARRIVALS)
def test_a_groups_own_lengths_are_its_requests_and_all_else_stays(arrivals: Any) -> None:
    load: dict[str, Any] = {"rate_rps": 200.0, "duration_s": 300, "arrivals": arrivals}
    plain = requests_of(deploy(tenants=PLAIN, **load))
    long = requests_of(deploy(tenants=LONG, **load))
    assert len(plain) > 3 * 16_384  # blocks
    docs = plain.tenant >= 20
    assert docs.sum() > 1000
    for name in COLUMNS:
        same = getattr(plain, name) == getattr(long, name)
        assert same[~docs].all(), name
        if name not in ("prompt_tokens", "output_tokens"):
            assert same.all(), name
    assert (long.prompt_tokens[docs] == 5000).all()
    assert set(np.unique(long.output_tokens[docs])) == set(range(1, 10))


def test_a_length_that_a_group_leaves_out_is_the_workloads() -> None:
    groups: list[dict[str, Any]] = [{"name": "a", "prompt_tokens": {"fixed": 10}}, {"name": "b"}]
    load: dict[str, Any] = {"rate_rps": 50.0, "duration_s": 60, "output_tokens": {"fixed": 33}}
    block = requests_of(deploy(tenants=groups, **load))
    assert (block.output_tokens == 33).all()
    assert (block.prompt_tokens[block.tenant == 0] == 10).all()


def test_the_nth_request_of_a_group_has_the_same_lengths_whoever_else_asks() -> None:
    own = {"rate_rps_each": 5.0, "output_tokens": {"lognormal": {"mean": 90, "sigma": 1}}}
    alone = requests_of(deploy(tenants=[{"name": "a"} | own], duration_s=100))
    beside = requests_of(
        deploy(tenants=[{"name": "a"} | own, {"name": "b", "rate_rps_each": 50.0}], duration_s=100)
    )
    first = alone.output_tokens[:200]
    assert np.array_equal(beside.output_tokens[beside.tenant == 0][:200], first)


def test_messages_of_a_session_have_the_lengths_of_its_tenants_group() -> None:
    sessions = {"sessions": {"turns_mean": 3, "think_time_s": 1, "max_context_tokens": 50_000}}
    block = requests_of(deploy(tenants=LONG, rate_rps=50.0, duration_s=100, arrivals=sessions))
    docs = block.tenant >= 20
    _, first = np.unique(block.session, return_index=True)
    fresh = np.zeros(len(block), dtype=bool)
    fresh[first] = True
    late = block.arrival_s > 50  # the sessions that begin there are whole
    begun = docs & fresh & late
    assert (block.prompt_tokens[begun] >= 5000).all()
    assert np.median(block.prompt_tokens[begun]) == 5000
    assert (block.output_tokens[docs] < 10).all()


def test_groups_with_their_own_lengths_give_the_same_stream_each_time() -> None:
    traffic = open_traffic(deploy(tenants=LONG, rate_rps=50.0, duration_s=60))
    first, second = [
        np.concatenate([block.prompt_tokens for block in traffic.blocks()]) for _ in range(2)
    ]
    assert np.array_equal(first, second)


# --- expected work ----------------------------------------------------------------------


def test_demand_is_rate_times_weighted_tokens() -> None:
    groups: list[dict[str, Any]] = [
        {"name": "a", "count": 2, "rate_rps_each": 3.0, "prompt_tokens": {"fixed": 100}},
        {"name": "b", "adapters": 0, "rate_rps_each": 1.0},
    ]
    lengths: dict[str, Any] = {"prompt_tokens": {"fixed": 10}, "output_tokens": {"fixed": 5}}
    demand = tenant_demand(deploy(tenants=groups, **lengths))
    assert demand == pytest.approx([3 * 110, 3 * 110, 20])


@pytest.mark.parametrize("arrivals", ["poisson", "sessions"])
def test_demand_is_what_the_traffic_brings(arrivals: str) -> None:
    deployment = deploy(tenants=LONG, rate_rps=100.0, duration_s=400, arrivals=arrivals)
    block = requests_of(deployment)
    work = block.prompt_tokens + 2.0 * block.output_tokens
    brought = np.bincount(block.tenant, work, 25) / 400
    expected = np.array(tenant_demand(deployment))
    assert brought.sum() == pytest.approx(expected.sum(), rel=0.06)
    assert np.corrcoef(brought, expected)[0, 1] > 0.99


def test_of_a_trace_all_tenants_are_alike(tmp_path: Path) -> None:
    deployment = deploy(tenants=PLAIN, trace=str(tmp_path / "t.parquet"))
    assert tenant_demand(deployment) == [1.0] * 25
