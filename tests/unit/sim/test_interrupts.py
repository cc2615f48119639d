"""Ctrl-C ends a run between two events, and nothing of it is lost."""

from __future__ import annotations

import signal

import pytest

from simlora import simulate
from simlora.errors import UserError
from tests.simulating import small_scenario


def test_what_was_simulated_before_ctrl_c_is_recorded_whole() -> None:
    before = signal.getsignal(signal.SIGINT)
    scenario = small_scenario(
        timing={"profile": "tests.timings:CtrlC"}, workload={"rate_rps": 5.0, "duration_s": 600}
    )
    result = simulate(scenario)
    requests = result.summary["requests"]
    assert result.summary["simulation"]["interrupted"] is True
    assert requests["unfinished"] > 0
    assert sorted(result.requests["request"]) == list(range(requests["offered"]))
    assert signal.getsignal(signal.SIGINT) is before


def test_unfinished_requests_have_waited_since_they_came() -> None:
    scenario = small_scenario(
        timing={"profile": "tests.timings:CtrlC"},
        workload={"rate_rps": 50.0, "duration_s": 600},
        engine={"max_num_seqs": 1, "max_num_batched_tokens": 512, "max_model_len": 512},
    )
    result = simulate(scenario)
    end_s = result.summary["simulation"]["span_s"]
    waiting = result.requests.query("status == 'unfinished' and ttft_s.isna()")
    assert len(waiting) > 5
    phases = ["queue_s", "adapter_wait_s", "prefill_s", "preempted_s"]
    assert (waiting[phases].sum(axis=1) - (end_s - waiting["arrival_s"])).abs().max() < 1e-9


def test_a_timing_model_that_goes_backwards_is_refused() -> None:
    with pytest.raises(UserError, match=r"Backwards says that a step takes -0.1 seconds"):
        simulate(small_scenario(timing={"profile": "tests.timings:Backwards"}))
