"""A run of decode steps taken at once is the same as step after step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from simlora.serving.batch_shape import BatchShape
from simlora.serving.decode_set import DecodeSet
from simlora.serving.page_pool import OutOfPages
from simlora.serving.request import COMPLETED, FAILED, Request
from simlora.sim import replica as replica_module
from simlora.sim import simulate
from simlora.timing import Roofline, steps_until
from simlora.timing.profile import load_profile
from tests.property.cases import Case, cases
from tests.simulating import Finished, phases_s, run, small_scenario

TOLERANCE_S = 1e-9
ALIKE = (
    "status",
    "reason",
    "replica",
    "adapter_source",
    "base_fallback",
    "cached_tokens",
    "preemptions",
    "attempts",
)
TIMES = (
    "queue_s",
    "adapter_wait_s",
    "prefill_s",
    "decode_s",
    "preempted_s",
    "first_token_s",
    "finish_s",
)


def both(case: Case) -> tuple[Finished, Finished]:
    """The same case fast and step by step."""
    fast, reference = (
        run(case.scenario.with_overrides({"run.fast_forward": fast_forward}), case.traffic())
        for fast_forward in (True, False)
    )
    return fast, reference


def assert_same(fast: Finished, reference: Finished) -> None:
    assert len(fast.requests) == len(reference.requests)
    for one, other in zip(fast.requests, reference.requests, strict=True):
        for name in ALIKE:
            assert getattr(one, name) == getattr(other, name), (one.index, name)
        for name in TIMES:
            difference = abs(getattr(one, name) - getattr(other, name))
            assert difference < TOLERANCE_S, (one.index, name, difference)


def assert_phases_add_up(requests: list[Request]) -> None:
    for request in requests:
        if request.status == COMPLETED:
            e2e_s = request.finish_s - request.arrival_s
            assert phases_s(request) == pytest.approx(e2e_s, abs=TOLERANCE_S), request.index
            ttft_s = request.first_token_s - request.arrival_s
            assert 0 <= ttft_s <= e2e_s + TOLERANCE_S, request.index


def happenings(fast: Finished, reference: Finished) -> list[str]:
    """What went on in a run, of all that ought to go on in some."""
    schedulers = fast.schedulers
    stats = [scheduler.tiers.stats for scheduler in schedulers]
    links = [link for replica in fast.simulation.replicas for link in replica.links]
    seen = {
        "preempted": any(scheduler.preemptions for scheduler in schedulers),
        "evicted": any(s.evictions for s in stats),
        "found a prefix": any(request.cached_tokens for request in fast.requests),
        "steps taken at once": sum(replica.events for replica in fast.simulation.replicas)
        < sum(replica.events for replica in reference.simulation.replicas),
        "rejected": any(request.reason for request in fast.requests),
        "fell back": any(request.base_fallback for request in fast.requests),
        "waited for an adapter": any(request.adapter_wait_s > 0 for request in fast.requests),
        "cut at the end": any(request.finish_s < 0 for request in fast.requests),
        "transfers cut": any(link.active for link in links),
        "several replicas": len(schedulers) > 1,
        "found warm": any(s.found[2] for s in stats),
        "found on disk": any(s.found[3] for s in stats),
        "found in the store": any(s.found[4] for s in stats),
        "a prefetch used": any(s.prefetches_used for s in stats),
        "a prefetch wasted": any(s.prefetches_wasted for s in stats),
        "a transfer tried again": any(s.transfers_failed > s.loads_given_up for s in stats),
        "failed with its adapter": any(r.status == FAILED for r in fast.requests),
        "asked again": any(r.attempts > 1 for r in fast.requests),
    }
    return [what for what, so in seen.items() if so]


def test_fast_forward_and_step_by_step_give_every_request_the_same_times() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=500)
    @given(cases())
    def agree(case: Case) -> None:
        fast, reference = both(case)
        assert_same(fast, reference)
        assert_phases_add_up(fast.requests)
        seen.update(happenings(fast, reference))

    agree()
    rare = {what: count for what, count in seen.items() if count < 15}
    assert not rare, rare  # the cases are worth something only if all of this occurs
    assert len(seen) == 18, seen


def test_gauges_read_the_same_within_a_run() -> None:
    @settings(max_examples=40)
    @given(cases())
    def agree(case: Case) -> None:
        fast, reference = both(case)
        # One may end earlier, by what is rounded in its last step.
        for one, other in zip(fast.collector.gauges, reference.collector.gauges, strict=False):
            assert one == other

    agree()


def test_a_profile_is_left_in_the_same_features(tmp_path: Path) -> None:
    """Also by the steps within a run, that nobody asks the timing model about."""
    profile = load_profile("vllm-0.8.5-h100-64gb-llama-3.1-8b")
    seen: Counter[str] = Counter()

    @settings(max_examples=150)
    @given(cases(), st.sampled_from([100, 400, 700, 1500, 4000]))
    def agree(case: Case, most: int) -> None:
        holds_for = {"attended_tokens": (0, most), "running": (1, 2)}
        path = tmp_path / f"{most}.json"
        path.write_text(profile.model_copy(update={"holds_for": holds_for}).model_dump_json())
        timed = case.scenario.with_overrides({"timing.profile": str(path)})
        fast, reference = both(replace(case, scenario=timed))
        for one, other in zip(fast.simulation.timings, reference.simulation.timings, strict=True):
            assert one.extrapolates() == other.extrapolates()
            seen.update(one.extrapolates())

    agree()
    assert min(seen["attended_tokens"], seen["running"]) > 15, seen


def test_itl_samples_are_the_same_in_number_and_sum() -> None:
    @settings(max_examples=30)
    @given(cases())
    def agree(case: Case) -> None:
        totals = []
        for finished in both(case):
            logs = [tier for log in finished.collector.steps for tier in log.drain()]
            totals.append(
                (
                    sum(weights.sum() for _, weights in logs),
                    sum(values @ weights for values, weights in logs),
                )
            )
            # All tokens but a request's first come after another one, also if it was cut.
            tokens = sum(max(0, request.emitted_tokens - 1) for request in finished.requests)
            assert totals[-1][0] == tokens
        assert totals[0] == pytest.approx(totals[1], rel=1e-9)

    agree()


def test_summaries_of_both_modes_agree() -> None:
    scenario = small_scenario(
        workload={"rate_rps": 40.0, "max_requests": 400, "arrivals": "sessions"},
        tenants=[{"name": "tenant", "count": 12}],
    )
    fast = simulate(scenario)
    reference = simulate(scenario.with_overrides({"run.fast_forward": False}))
    assert fast.summary["simulation"]["events"] < reference.summary["simulation"]["events"] / 3
    for metric in ("ttft_s", "e2e_s", "tpot_s", "queue_s"):
        assert fast.summary["latency"][metric] == pytest.approx(
            reference.summary["latency"][metric], abs=TOLERANCE_S
        )
    for block in ("requests", "throughput", "adapters", "memory", "prefix_cache"):
        assert _numbers(fast.summary[block]) == pytest.approx(_numbers(reference.summary[block]))


def _numbers(block: Any) -> dict[str, float]:
    return {key: value for key, value in block.items() if isinstance(value, (int, float))}


# --- the comparison can fail ---------------------------------------------------------------


def _forget_memory(self: DecodeSet, blocks: int, limit: int) -> int:
    return limit


def _one_class_off(self: DecodeSet, steps: int) -> int:
    cycles, rest = divmod(steps, self.block_tokens)
    start = (self.step_count + 1) % self.block_tokens
    return cycles * self.shape.decode_seqs + sum(self._classes[start : start + rest])


def _react_a_step_late(elapsed_s: float, first_s: float, growth_s: float) -> int:
    return steps_until(elapsed_s, first_s, growth_s) + 1


_growth_s = Roofline.decode_growth_s


def _grow_by_half(self: Roofline, shape: BatchShape) -> float:
    return _growth_s(self, shape) / 2


@pytest.mark.parametrize(
    ("owner", "name", "mistake"),
    [
        (DecodeSet, "steps_within", _forget_memory),
        (DecodeSet, "new_blocks", _one_class_off),
        (replica_module, "steps_until", _react_a_step_late),
        (Roofline, "decode_growth_s", _grow_by_half),
    ],
)
def test_a_mistake_in_the_fast_path_shows(
    owner: Any, name: str, mistake: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, mistake)

    @settings(max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)
    @given(cases())
    def agree(case: Case) -> None:
        assert_same(*both(case))

    with pytest.raises((AssertionError, OutOfPages, ZeroDivisionError)):
        agree()
