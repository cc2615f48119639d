"""Known figures come back from the steps they made, and what cannot be known is said to be so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simlora.calibration.design import DENSE, TERMS, Rows, stack
from simlora.calibration.fit import CONDITION_INDEX, fit_steps
from simlora.calibration.judge import cross_validate, folds_of, summarize
from simlora.errors import UserError
from simlora.timing.parameters import StepParameters
from tests.unit.calibration.measuring import measured, shapes

EVERY_TERM = StepParameters(
    fixed_s=3e-3,
    sequence_s=15e-6,
    weights_s=9e-3,
    token_compute_s=22e-6,
    token_s=4e-6,
    decode_attended_s=7e-8,
    prefill_attended_s=1.5e-9,
    scan_s=1e-6,
    lora_step_s=2e-3,
    lora_slot_s=16e-6,
    adapter_s=0.3e-3,
    adapter_parameter_s=2e-12,
    lora_token_s=8e-6,
    lora_token_slot_s=0.1e-6,
    lora_token_parameter_s=1e-13,
)
# Much as vLLM 0.8.5 with Llama-3.1-8B on an H100: few terms, each of weight in some steps.
SERVER = StepParameters(
    fixed_s=12e-3,
    token_s=20e-6,
    decode_attended_s=7e-8,
    scan_s=1.5e-6,
    lora_slot_s=20e-6,
    adapter_s=0.4e-3,
    lora_token_slot_s=0.25e-6,
)


def test_every_figure_is_recovered_from_exact_measurements() -> None:
    fit = fit_steps(measured(shapes(200), EVERY_TERM))
    for name in (*TERMS, *DENSE):
        assert getattr(fit.parameters, name) == pytest.approx(getattr(EVERY_TERM, name), rel=0.02)
    assert {estimate.status for estimate in fit.estimates} == {"fitted"}
    assert np.abs(fit.errors).max() < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_figures_that_matter_are_recovered_under_noise(seed: int) -> None:
    rows = measured(shapes(800, seed), SERVER, noise=0.03, seed=seed)
    fit = fit_steps(rows)
    for name, true in SERVER.model_dump().items():
        if true:
            assert getattr(fit.parameters, name) == pytest.approx(true, rel=0.1), name
    left_out = cross_validate(rows, {}, 5)
    assert left_out is not None
    summary = summarize(left_out)
    assert summary is not None and 0.01 < summary.median < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_standard_errors_tell_how_far_off_a_figure_may_be(seed: int) -> None:
    fit = fit_steps(measured(shapes(400, seed), EVERY_TERM, noise=0.03, seed=seed))
    for estimate in fit.estimates:
        if estimate.status == "fitted" and estimate.name not in DENSE:
            assert estimate.relative_error is not None
            off = abs(estimate.value - getattr(EVERY_TERM, estimate.name)) / estimate.value
            assert off < 5 * estimate.relative_error, estimate.name


def test_a_term_that_costs_nothing_is_not_made_up() -> None:
    fit = fit_steps(measured(shapes(300), SERVER))
    assert fit.parameters.lora_token_s < 1e-9 and fit.parameters.weights_s == 0


def test_equal_slots_everywhere_cannot_tell_slots_from_steps() -> None:
    fit = fit_steps(measured(shapes(200, slots=(300,)), SERVER))
    estimates = {estimate.name: estimate for estimate in fit.estimates}
    for name, host in (("lora_slot_s", "lora_step_s"), ("lora_token_slot_s", "lora_token_s")):
        assert estimates[name].status == "unknown"
        assert host in estimates[name].reason
    assert fit.parameters.lora_step_s == pytest.approx(300 * SERVER.lora_slot_s, rel=0.02)


def test_steps_without_adapters_say_nothing_of_lora() -> None:
    sizes = shapes(100)
    none = np.zeros(100)
    sizes = replace(
        sizes,
        lora_tokens=none,
        lora_token_parameters=none,
        distinct_adapters=none,
        distinct_adapter_parameters=none,
    )
    fit = fit_steps(measured(sizes, SERVER))
    unknown = {estimate.name for estimate in fit.estimates if estimate.status == "unknown"}
    assert {name for name in TERMS if "lora" in name or "adapter" in name} <= unknown
    assert fit.parameters.adapter_s == 0


def hardly_differ(noise: float) -> Rows:
    """Steps in which the sequences are a thousandth off the tokens."""
    sizes = shapes(100)
    nearly = sizes.tokens * (1 + 1e-3 * np.random.default_rng(5).standard_normal(100))
    return measured(replace(sizes, sequences=nearly), EVERY_TERM, noise=noise)


DENSE_GIVEN = {"weights_s": 9e-3, "token_compute_s": 22e-6}


def test_figures_that_hardly_differ_are_known_together() -> None:
    fit = fit_steps(hardly_differ(noise=1e-5), DENSE_GIVEN)
    assert fit.parameters.token_s > 0 and fit.parameters.sequence_s > 0
    assert any({"token_s", "sequence_s"} <= set(group) for group in fit.together)
    assert fit.condition > CONDITION_INDEX


def test_a_figure_at_zero_that_another_may_have_swallowed_is_not_known() -> None:
    """Least squares without negative figures gives all of the two to one of them, and would then
    be as sure of that one as if there were no other."""
    fit = fit_steps(hardly_differ(noise=0.01), DENSE_GIVEN)
    both = {one.name: one for one in fit.estimates if one.name in ("token_s", "sequence_s")}
    zero, all_of_it = sorted(both.values(), key=lambda one: one.value)
    assert zero.value == 0 < all_of_it.value
    assert zero.status == "unknown"
    assert zero.reason.startswith("cannot be told from ") and all_of_it.name in zero.reason
    assert all_of_it.status == "fitted" and all_of_it.relative_error is None
    assert any(set(both) <= set(group) for group in fit.together)


def test_a_figure_at_zero_that_stands_alone_is_known() -> None:
    fit = fit_steps(measured(shapes(400), SERVER, noise=0.01))
    zeros = [one for one in fit.estimates if one.status == "zero"]
    assert zeros and not fit.together
    assert {one.reason for one in zeros} == {"the data make it no more than 0"}


def test_three_figures_of_which_two_directions_are_unknown() -> None:
    sizes = shapes(100)
    rng = np.random.default_rng(6)
    noisy = [sizes.tokens * (1 + off * rng.standard_normal(100)) for off in (1e-4, 3e-3)]
    sizes = replace(sizes, sequences=noisy[0], passed_over=noisy[1])
    fit = fit_steps(measured(sizes, EVERY_TERM, noise=0.01), DENSE_GIVEN)
    three = {"token_s", "sequence_s", "scan_s"}
    assert any(three <= set(group) for group in fit.together)
    estimates = [one for one in fit.estimates if one.name in three]
    assert sum(one.value > 0 for one in estimates) < 3
    assert {one.status for one in estimates} == {"fitted", "unknown"}
    assert all(one.relative_error is None for one in estimates)


def test_given_figures_are_kept() -> None:
    given = {"fixed_s": 3e-3, "weights_s": 9e-3, "token_compute_s": 22e-6}
    fit = fit_steps(measured(shapes(60), EVERY_TERM), given)
    assert {e.name for e in fit.estimates if e.status == "given"} == set(given)
    assert fit.parameters.token_s == pytest.approx(EVERY_TERM.token_s, rel=0.02)


def test_when_all_figures_are_given_there_is_nothing_to_fit() -> None:
    rows = measured(shapes(20), SERVER)
    fit = fit_steps(rows, SERVER.model_dump())
    assert fit.parameters == SERVER
    assert {estimate.status for estimate in fit.estimates} == {"given"}
    assert np.abs(fit.errors).max() < 1e-9
    assert cross_validate(rows, SERVER.model_dump(), 5) is not None


def test_too_few_points_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"5 measurements \(5 different\) cannot determine 1[123] fig"
    ):
        fit_steps(measured(shapes(5), SERVER))


def test_repeating_a_point_does_not_help() -> None:
    rows = stack([measured(shapes(4), SERVER)] * 10)
    with pytest.raises(UserError, match=r"40 measurements \(4 different\) cannot determine"):
        fit_steps(rows)


def test_repetitions_stay_together_in_cross_validation() -> None:
    rows = measured(shapes(6), SERVER)
    stacked = stack([rows, measured(shapes(6), SERVER, noise=0.1)])
    assert len(np.unique(stacked.group)) == 6  # of different files as well
    assert (stacked.group[:6] == stacked.group[6:]).all()
    doubled = shapes(6)
    twice = replace(
        doubled, **{n: np.tile(getattr(doubled, n), 2) for n in type(doubled).__slots__}
    )
    assert len(np.unique(measured(twice, SERVER).group)) == 6


def test_there_are_no_more_folds_than_points() -> None:
    fold = folds_of(np.array([0, 1, 2, 1]), 50)
    assert set(fold.tolist()) == {0, 1, 2} and fold[1] == fold[3]
    given = {name: value for name, value in SERVER.model_dump().items() if name != "token_s"}
    rows = stack([measured(shapes(4), SERVER, noise=0.01, seed=seed) for seed in range(3)])
    assert cross_validate(rows, given, 50) is not None
    one = stack([measured(shapes(1), SERVER)] * 9)
    assert cross_validate(one, given, 5) is None


def test_summary_of_errors() -> None:
    summary = summarize(np.array([0.1, -0.1, np.nan, 0.3]))
    assert summary is not None
    assert (summary.count, summary.median, summary.bias) == (3, 0.1, 0.1)
    assert summary.smape == pytest.approx((0.2 / 2.1 + 0.2 / 1.9 + 0.6 / 2.3) / 3)
    assert summarize(np.array([np.nan])) is None


def test_figures_that_no_server_has_are_refused() -> None:
    rows = measured(shapes(200), SERVER.model_copy(update={"token_s": 9.0}))
    tiny = replace(rows, matrix=rows.matrix / np.where(rows.matrix[0] == 1, 1, 1e3))
    with pytest.raises(UserError, match=r"^these measurements give a token_s that no server has: "):
        fit_steps(tiny)
