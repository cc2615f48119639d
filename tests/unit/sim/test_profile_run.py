"""What a profile changes in a run: loads, time outside the engine, and what the result says."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.cli.tables import summary_table
from simlora.report.words import timing_basis
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from tests.property.cases import Case, cases
from tests.property.test_fast_forward import assert_phases_add_up, assert_same, both
from tests.simulating import Ask, run, small_scenario, traffic_of


def outside(**changes: Any) -> Scenario:
    return small_scenario(timing={"profile": "tests.timings:Outside"}, **changes)


def profile(folder: Path, **changes: Any) -> Path:
    path = folder / "profile.json"
    fields = {
        "name": "mine",
        "server": "a server",
        "gpu": "mini",
        "model": "tiny-llama",
        "preset": "simlora",
        "padded": False,
        "step": {"fixed_s": 0.01},
        "holds_for": {"distinct_adapters": [0, 1], "running": [1, 64]},
        "error": {"throughput_median": 0.02},
        "provenance": {"source": "us", "rows": 3, "date": "2025-06-01", "simlora": "0.1.0"},
    }
    path.write_text(json.dumps(fields | changes))
    return path


def test_time_outside_the_engine_comes_before_it_and_is_queueing() -> None:
    request = run(outside(), [Ask(1.0, output_tokens=3)]).requests[0]
    assert request.queue_s == pytest.approx(0.03)
    assert request.first_token_s == pytest.approx(1.0 + 0.03 + 0.1)
    assert request.finish_s - request.first_token_s == pytest.approx(0.2)
    assert_phases_add_up([request])


@pytest.mark.parametrize("loading", ["overlap", "blocking"])
def test_the_profile_says_how_long_a_load_takes(loading: str) -> None:
    of = outside(
        engine={"max_model_len": 1024, "adapter_loading": loading},
        adapters={"initial_tier": "warm", "warm": {"registration_s": 7.0}},
    )
    request = run(of, [Ask(0.0, adapter=0)]).requests[0]
    assert request.adapter_wait_s == pytest.approx(0.05)
    assert request.first_token_s == pytest.approx(0.03 + 0.05 + 0.1)


def test_requests_cut_on_their_way_are_unfinished() -> None:
    of = outside(workload={"rate_rps": 1.0, "on_end": "discard"})
    finished = run(of, traffic_of(expand(of), [Ask(0.0), Ask(0.99)], duration_s=1.0))
    assert [request.finish_s < 0 for request in finished.requests] == [False, True]
    assert finished.requests[1].queue_s == pytest.approx(0.01)


@settings(max_examples=60)
@given(cases(), st.sampled_from([0.001, 0.03]))
def test_both_modes_agree_with_a_profile(case: Case, overhead_s: float) -> None:
    with TemporaryDirectory() as folder:
        path = profile(
            Path(folder),
            request_overhead_s=overhead_s,
            load={"latency_s": 0.004, "bytes_per_s": 1e8},
            step={"fixed_s": 0.004, "decode_attended_s": 1e-7, "adapter_s": 1e-4, "token_s": 1e-5},
        )
        timed = case.scenario.with_overrides({"timing.profile": str(path)})
        fast, reference = both(Case(timed, case.load))
    assert_same(fast, reference)
    assert_phases_add_up(fast.requests)
    assert all(
        request.queue_s >= overhead_s - 1e-9
        for request in fast.requests
        if request.first_token_s >= 0
    )


def test_the_result_says_what_its_times_rest_on(tmp_path: Path) -> None:
    workload = {"rate_rps": 20.0, "duration_s": 10.0}
    of = small_scenario(workload=workload, timing={"profile": str(profile(tmp_path))})
    told = simulate(of).summary
    timing = told["simulation"]["timing"]
    assert timing["scaled_from"] is None
    assert timing["extrapolates"] == ["distinct_adapters"]
    assert timing["error"] == {"throughput_median": 0.02}
    assert summary_table(told)

    two = small_scenario(
        workload=workload,
        fleet=[{"gpu": "mini"}, {"gpu": "h100-80gb"}],
        timing={"profile": str(profile(tmp_path))},
    )
    timing = simulate(two).summary["simulation"]["timing"]
    assert timing["scaled_from"] == "mini, tiny-llama"
    assert timing_basis(timing | {"profile": "mine"}) == (
        "mine; scaled from mini, tiny-llama by the roofline; beyond what was measured in distinct "
        "adapters; error: throughput median 2 %"
    )
