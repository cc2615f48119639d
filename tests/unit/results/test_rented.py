"""A fleet that grows and shrinks is paid for, and judged, by what was rented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import BatchFacts, PoolFacts
from tests.unit.results.recorded import deployment, facts, record

SPAN_S = 3600.0
GPU = "h100-80gb"


def scaled(directory: Path, rented_s: float, **fields: Any) -> Result:
    """Two replicas that are always there, and up to four more, of two GPUs each."""
    fleet = [
        {"gpu": GPU, "replicas": 2},
        {"gpu": GPU, "replicas": 4, "tensor_parallel": 2, "autoscale": {"min": 0}},
    ]
    pools = (PoolFacts(GPU, 2, 1, 4.0, 2 * SPAN_S), PoolFacts(GPU, 4, 2, 4.0, rented_s))
    return record(deployment(fleet=fleet), directory, [], SPAN_S, fleet=pools, **fields)


def test_a_month_costs_what_the_replicas_do_that_were_rented_on_average(tmp_path: Path) -> None:
    cost = scaled(tmp_path, 1.5 * SPAN_S).summary["cost"]
    assert cost["replica_hours"] == pytest.approx(3.5)
    assert cost["fleet_usd"] == pytest.approx(2 * 4.0 + 1.5 * 8.0)
    assert cost["fleet_usd_per_month"] == pytest.approx(720 * (2 * 4.0 + 1.5 * 8.0))
    assert (cost["gpus"], cost["gpu_usd_per_hour"]) == (10, 40.0)


def test_a_pool_of_a_fixed_size_costs_the_same_every_hour(tmp_path: Path) -> None:
    cost = record(deployment(), tmp_path, [], 1234.5).summary["cost"]
    assert cost["fleet_usd_per_month"] == 720 * cost["gpu_usd_per_hour"]
    assert cost["replica_hours"] == pytest.approx(2 * 1234.5 / 3600)


def test_busy_is_a_share_of_the_rented_time(tmp_path: Path) -> None:
    busy = BatchFacts(steps=10, busy_s=1.75 * SPAN_S, mean_running=1.0)
    summary = scaled(tmp_path, 1.5 * SPAN_S, batch=busy).summary
    assert summary["batch"]["busy_ratio"] == pytest.approx(0.5)


def test_the_least_that_a_pool_has_is_told_of_autoscaled_ones_alone(tmp_path: Path) -> None:
    fixed, autoscaled = scaled(tmp_path, 0.0).summary["simulation"]["fleet"]
    assert autoscaled["min_replicas"] == 0
    assert "min_replicas" not in fixed


@pytest.mark.parametrize(
    ("up", "told"),
    [
        ([(1, 1), (1, 1), (1, 1), (1, 1)], None),
        ([(1, 1), (0, 1), (0, 0), (1, 1)], {"mean": 1.25, "least": 0, "most": 2}),
    ],
)
def test_replicas_up_are_told_where_they_changed(
    tmp_path: Path, up: list[tuple[int, int]], told: dict[str, float] | None
) -> None:
    recorder = Recorder(deployment(), tmp_path, warmup_s=0.0)
    for instant, of_replica in enumerate(up):
        for replica, is_up in enumerate(of_replica):
            recorder.sample(instant / 8, replica, 0, 0, 0, 0, 0, 0, 0, is_up)
    assert recorder.close(facts(0.5)).summary.get("replicas_up") == told


def test_events_and_bursts_are_those_of_the_scenario(tmp_path: Path) -> None:
    crash = {"at_s": 5.0, "duration_s": 2.0, "crash": 1}
    burst = {"start_s": 1.0, "duration_s": 3.0, "requests": 9}
    bursts = [{"tenant": "pro-0001", **burst}, {"tenant": "free", **burst}]
    workload = {"rate_rps": 10.0, "arrivals": {"bursts": bursts}}
    of = deployment(events=[crash], workload=workload)
    summary = record(of, tmp_path / "a", [], 10.0).summary
    assert summary["events"] == [crash]
    assert summary["bursts"] == [bursts[0] | {"tenants": 1}, bursts[1] | {"tenants": 20}]
    plain = record(deployment(), tmp_path / "b", [], 10.0).summary
    assert not {"events", "bursts", "replicas_up"} & plain.keys()
