"""Queueing at the gateway and for a replica to start is told as such."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.report.limits import what_limits
from simlora.report.waits import Waits, waits_outside, waits_told
from simlora.results.result import Result
from simlora.sim import simulate
from tests.simulating import small_scenario
from tests.unit.results.recorded import completed, deployment, record

ASLEEP = [{"gpu": "h100-80gb", "replicas": 2, "autoscale": {"min": 0}}]


def limited(**limits: Any) -> Result:
    """One tenant of four sends 100 requests within ten seconds, of which few are its due."""
    burst = {"tenant": "tenant-0001", "start_s": 30, "duration_s": 10, "requests": 100}
    traffic = {"rate_rps": 4.0, "duration_s": 120, "arrivals": {"bursts": [burst]}}
    return simulate(small_scenario(workload=traffic, gateway={"rate_limits": limits}))


def test_a_delay_by_a_rate_limit_is_no_lack_of_compute() -> None:
    result = limited(standard={"rps": 3, "burst": 5, "over_limit": "delay"})
    waits = waits_outside(result)
    assert waits.tenants == ("tenant-0001",)
    queued_s = float(result.requests.groupby("tenant")["queue_s"].sum()["tenant-0001"])
    steps_s = result.summary["batch"]["mean_step_s"] * len(result.requests)
    assert waits.delayed_s == pytest.approx(queued_s, abs=steps_s)
    first, second, *_ = what_limits(result)
    assert first.startswith("Requests of tenant tenant-0001 were delayed by its rate limit: ")
    assert f"{waits.delayed} requests, " in first
    assert second.startswith("Nothing else holds requests back")


def test_a_tenants_own_limit_counts_in_place_of_its_tiers() -> None:
    slow, roomy = ({"rps": rps, "burst": 5, "over_limit": "delay"} for rps in (3, 1000))
    assert waits_outside(limited(**{"standard": slow, "tenant-0001": roomy})).delayed == 0
    assert waits_outside(limited(**{"standard": roomy, "tenant-0001": slow})).delayed > 50


def test_a_limit_that_turns_away_delays_nobody() -> None:
    assert waits_outside(limited(standard={"rps": 3, "burst": 5})) == Waits()


def test_a_start_from_zero_is_no_lack_of_places_in_the_batch() -> None:
    sleeper = {"gpu": "mini", "replicas": 1, "autoscale": {"min": 0, "startup_s": 20}}
    traffic = {"rate_rps": 2.0, "duration_s": 120, "output_tokens": {"fixed": 5}}
    result = simulate(small_scenario(fleet=[sleeper], workload=traffic))
    waits = waits_outside(result)
    requests = result.requests
    first_s = requests["arrival_s"].min()
    early = requests[requests["arrival_s"] < first_s + 20 - 0.1]
    assert waits.starting == len(early) > 20
    steps_s = 10 * result.summary["batch"]["mean_step_s"] * len(early)
    assert waits.starting_s == pytest.approx((first_s + 20 - early["arrival_s"]).sum(), abs=steps_s)
    first, second, *_ = what_limits(result)
    assert first.startswith(
        f"Requests waited for a replica to start, for none was up: {len(early)} requests, "
    )
    assert second.startswith("Nothing else holds requests back")


def test_only_waiting_while_nobody_is_served_is_waiting_for_a_start(tmp_path: Path) -> None:
    of = deployment(fleet=ASLEEP)
    requests = [
        completed(of, 0, 0.0, queue_s=20.0, decode_s=10.0),  # is served from 20 s on
        completed(of, 1, 5.0, queue_s=15.0),
        completed(of, 2, 10.0, queue_s=16.0),  # 10 s of these, and 6 s behind the others
        completed(of, 3, 25.0, queue_s=4.0),
        completed(of, 4, 100.0, queue_s=20.0),
    ]
    waits = waits_outside(record(of, tmp_path, requests, 200.0))
    assert (waits.requests, waits.starting) == (5, 4)
    assert waits.starting_s == pytest.approx(20 + 15 + 10 + 20)
    assert waits.queued_s == pytest.approx(75.0)
    assert waits.mean_s == pytest.approx(13.0)


def test_requests_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    of = deployment(fleet=ASLEEP)
    result = record(of, tmp_path, [completed(of, 0, 0.0)], 10.0)
    (tmp_path / "requests.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read as the Parquet table of a run"):
        waits_outside(result)


def test_what_shows_in_no_figure_is_not_told() -> None:
    assert waits_told(Waits(1000, 100.0, delayed=5, delayed_s=5.0, tenants=("a",))) == []
    (two,) = waits_told(Waits(1000, 100.0, delayed=20, delayed_s=40.0, tenants=("a", "b")))
    assert two.startswith(
        "Requests of 2 tenants were delayed by their rate limits: 20 requests, 2.00 s on average, "
        "40 % of all queueing."
    )
