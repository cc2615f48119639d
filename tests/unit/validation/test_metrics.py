"""Errors, bars and decisions, from outcomes made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from simlora.validation.fidelity import bars
from simlora.validation.metrics import choices, errors, infeasible, pairs_of
from simlora.validation.predict import Prediction
from simlora.validation.rows import BscRun
from simlora.validation.runner import Outcome

RUN = BscRun(
    run_id="r",
    config_id=1,
    model="llama-3.1-8b-instruct",
    engine="V1",
    slots=8,
    adapters=16,
    max_rank=16,
    max_num_seqs=2048,
    ranks=(8,),
    rates_rps=(0.1,),
    dataset="ShareGPT",
    window_s=60,
    status="ok",
    regime="underloaded",
)


def outcome(measured: float | None, predicted: float | None, **changes: Any) -> Outcome:
    """A run by its throughput; None: it did not start, or was predicted not to."""
    metric = "total_tokens_per_s"
    run = replace(
        RUN,
        status="oom" if measured is None else "ok",
        measured={} if measured is None else {metric: measured},
        **changes,
    )
    if predicted is None:
        return Outcome(run, Prediction(False, "memory"))
    return Outcome(run, Prediction(True, metrics={metric: predicted}))


def test_errors_by_hand() -> None:
    found = errors([(110, 100), (80, 100), (100, 100), (5, 0)])
    assert found is not None
    assert found.count == 3
    assert found.median_error == pytest.approx(0.1)
    assert found.mean_error == pytest.approx(0.1)
    assert found.bias == pytest.approx(0.0)
    assert found.smape == pytest.approx((20 / 210 + 40 / 180) / 3)
    assert errors([]) is None


def test_a_wrong_refusal_is_an_error_of_the_whole_throughput() -> None:
    assert pairs_of([outcome(100, None)], "total_tokens_per_s") == [(0.0, 100)]


def test_capped_clients_tell_nothing_of_ttft_and_lagging_ones_nothing_of_itl() -> None:
    capped, lagged = replace(RUN, client_capped=True), replace(RUN, client_lagged=True)
    for metric, flagged in (("ttft_mean_s", capped), ("itl_mean_s", lagged)):
        for run in (RUN, flagged):
            judged = Outcome(
                replace(run, measured={metric: 1.0}), Prediction(True, metrics={metric: 1.0})
            )
            assert bool(pairs_of([judged], metric)) == (run is RUN)


def test_refusals() -> None:
    found = infeasible([outcome(None, None), outcome(None, 5), outcome(9, None), outcome(9, 9)])
    assert (found.recall, found.false_alarm_rate) == (0.5, 0.5)


def test_the_choice_of_slots_costs_what_was_measured_there() -> None:
    few, many, refused = {"slots": 8}, {"slots": 16}, {"slots": 32}
    good = [outcome(100, 90, **few), outcome(98, 91, **many), outcome(None, None, **refused)]
    assert choices(good).good == 1
    assert choices(good).mean_loss == pytest.approx(0.02)
    bad = [outcome(100, 90, **few), outcome(None, 99, **refused)]
    assert choices(bad).good == 0
    assert choices(bad).mean_loss == 1
    assert choices([outcome(100, 90, **few)]).workloads == 0


def test_bars_without_measurements_are_neither_met_nor_missed() -> None:
    assert {bar.met for bar in bars([])} == {None}
    assert bars([outcome(100, 101)])[0].met
