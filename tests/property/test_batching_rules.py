"""Rules about the batch hold at every step, take nothing from fast forward and starve nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from simlora.serving.batching import Merging, TrustClasses
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.step import StepPlan
from tests.property.cases import Case, batching, cases
from tests.property.test_fast_forward import assert_phases_add_up, assert_same, both
from tests.simulating import Finished, run

Watch = Callable[[BatchScheduler, StepPlan], None]
CLASS_OF: dict[str, Callable[[Request], int]] = {
    "tenant": lambda request: request.tenant,
    "tier": lambda request: request.tier,
}


@st.composite
def ruled(draw: st.DrawFn, kind: str) -> Case:
    """A case whose replicas have a rule of that kind, beside others maybe."""
    case = draw(cases())
    engine = case.scenario.engine
    fair = case.scenario.gateway.fairness.policy != "fcfs" and kind not in ("order", "pass_over_s")
    cached, seqs = engine.prefix_cache.enabled, engine.max_num_seqs
    rules = draw(
        batching(ordered=not fair, cached=cached, seqs=seqs).filter(
            lambda rules: rules.get(kind) not in (None, "fcfs")
        )
    )
    plain = {"grouping": None, "trust": None, "merged": None, "order": "fcfs", "pass_over_s": None}
    changes = {f"engine.scheduler.{field}": value for field, value in (plain | rules).items()}
    if not fair:
        changes["gateway.fairness.policy"] = "fcfs"
    return replace(case, scenario=case.scenario.with_overrides(changes))


def schedulers_of(finished: Finished) -> list[BatchScheduler]:
    return finished.schedulers


def watched(case: Case, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A run in which every plan is shown to `watch`."""
    schedule = BatchScheduler.schedule

    def shown(self: BatchScheduler, now: float) -> StepPlan | None:
        plan = schedule(self, now)
        if plan is not None:
            watch(self, plan)
        return plan

    with monkeypatch.context() as patch:
        patch.setattr(BatchScheduler, "schedule", shown)
        return run(case.scenario, case.traffic())


def assert_all_ended(case: Case, finished: Finished) -> None:
    assert [request.index for request in finished.requests] == list(range(case.load.requests))
    if case.scenario.workload.on_end == "drain":
        ends = Counter(request.status for request in finished.requests)
        assert set(ends) <= {COMPLETED, REJECTED, FAILED}, ends


@pytest.mark.parametrize("kind", ["grouping", "trust", "merged", "order", "pass_over_s"])
def test_fast_forward_is_step_by_step_with_a_rule(kind: str) -> None:
    @settings(max_examples=100)
    @given(ruled(kind))
    def agree(case: Case) -> None:
        fast, reference = both(case)
        assert_same(fast, reference)
        assert_phases_add_up(fast.requests)
        assert_all_ended(case, fast)

    agree()


def test_requests_of_two_trust_classes_never_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[int] = []

    @settings(max_examples=150)
    @given(ruled("trust"))
    def confined(case: Case) -> None:
        trust = case.scenario.engine.scheduler.trust
        assert trust is not None
        # In the cases a trust class is a tier.
        class_of = CLASS_OF["tenant" if trust.by == "tenant" else "tier"]

        def alike(scheduler: BatchScheduler, plan: StepPlan) -> None:
            assert len({class_of(request) for request in scheduler.running.values()}) <= 1

        finished = watched(case, alike, monkeypatch)
        assert_all_ended(case, finished)
        rules = [scheduler.rules for scheduler in schedulers_of(finished)]
        turns.extend(r.trust.turns for r in rules if r is not None and r.trust is not None)

    confined()
    assert sum(count > 2 for count in turns) > 30, turns


def test_a_class_that_is_let_in_by_mistake_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    allows = TrustClasses.allows

    def careless(self: TrustClasses, request: Request, now: float) -> bool:
        return allows(self, request, now) or request.index % 7 == 6

    monkeypatch.setattr(TrustClasses, "allows", careless)

    @settings(max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)
    @given(ruled("trust"))
    def confined(case: Case) -> None:
        def alike(scheduler: BatchScheduler, plan: StepPlan) -> None:
            assert len({request.tenant for request in scheduler.running.values()}) <= 1

        if case.scenario.engine.scheduler.trust.by == "tenant":  # type: ignore[union-attr]
            watched(case, alike, monkeypatch)

    with pytest.raises(AssertionError):
        confined()


def test_a_merged_batch_holds_one_adapter_and_computes_no_lora(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=250)
    @given(ruled("merged"))
    def alone(case: Case) -> None:
        def check(scheduler: BatchScheduler, plan: StepPlan) -> None:
            merging = _merging(scheduler)
            lora = plan.timed.lora_tokens
            if merging.merged:
                adapters = {id(request.adapter_state) for request in scheduler.running.values()}
                assert len(adapters) <= 1  # none: a step of nothing but blocking loads
                assert None not in {r.adapter_state for r in scheduler.running.values()}
                assert lora == plan.timed.distinct_adapters == 0
                seen["merged steps"] += 1
            else:
                seen["mixed steps"] += lora > 0
            seen["stalls"] += plan.stall_s > 0

        finished = watched(case, check, monkeypatch)
        assert_all_ended(case, finished)
        for scheduler in schedulers_of(finished):
            merging = _merging(scheduler)
            end_s = finished.simulation.env.now
            assert 0 <= merging.merged_s(end_s) <= end_s
            seen["switches"] += merging.switches

    alone()
    assert min(seen[what] for what in ("merged steps", "mixed steps", "stalls")) > 50, seen


def _merging(scheduler: BatchScheduler) -> Merging:
    assert scheduler.rules is not None
    assert scheduler.rules.merging is not None
    return scheduler.rules.merging


def test_a_rule_that_forgets_to_wake_the_driver_would_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The comparison with step by step depends on it, and so do requests on an idle replica."""
    monkeypatch.setattr(BatchScheduler, "wake_at_s", lambda self, now: float("inf"))

    @settings(max_examples=150, phases=[Phase.generate], report_multiple_bugs=False)
    @given(ruled("grouping"))
    def agree(case: Case) -> None:
        assert_same(*both(case))

    with pytest.raises((AssertionError, RuntimeError)):
        agree()
