"""What times rest on, told of a scenario before it is run as it is of the run."""

from __future__ import annotations

import pytest

from simlora.report.timing_words import profile_rows, start_sentence, timing_of, timing_sentence
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from tests.simulating import small_scenario

FITTED = "vllm-0.8.5-h100-64gb-llama-3.1-8b"


def asked(profile: str) -> Scenario:
    return small_scenario(
        model="llama-3.1-8b",
        fleet=[{"gpu": "h100-80gb"}],
        workload={"rate_rps": 1.0, "duration_s": 5},
        timing={"profile": profile},
    )


@pytest.mark.parametrize("profile", ["roofline", "nearest", FITTED])
def test_a_scenario_tells_of_its_timing_what_its_run_does(profile: str) -> None:
    before = timing_of(asked(profile))
    after = simulate(asked(profile)).summary["simulation"]["timing"]
    assert before == {key: value for key, value in after.items() if key != "extrapolates"}


def test_a_fitted_profile_tells_its_date_source_and_error() -> None:
    rows = dict(profile_rows(timing_of(asked(FITTED)), FITTED))
    assert rows["timing profile"].startswith(FITTED)
    assert "on measurements it was not fitted to" in rows["error of the profile"]
    assert {"date of the profile", "source of the profile"} < set(rows)
    assert "h100-64gb" in rows["scaled by the roofline from"]  # of the 80 GB that was asked for
    beyond = dict(profile_rows(timing_of(asked(FITTED)) | {"extrapolates": ["running"]}, FITTED))
    assert beyond["extrapolates"].startswith("yes: scaled by the roofline from")
    assert "beyond the measured range in running" in beyond["extrapolates"]


def test_a_profile_that_cannot_be_read_is_still_named() -> None:
    timing = timing_of(asked("/nowhere/own.json"))
    assert timing == {"profile": "/nowhere/own.json"}
    assert dict(profile_rows(timing, timing["profile"]))["timing profile"] == "/nowhere/own.json"


def test_sentences_say_how_far_to_trust_times_and_which_requests_count() -> None:
    assert "trust comparisons more" in timing_sentence(timing_of(asked("roofline")))
    assert FITTED in timing_sentence(timing_of(asked(FITTED)))
    assert "in the first 30 s" in start_sentence(30.0)
    assert "all requests count" in start_sentence(0.0)
