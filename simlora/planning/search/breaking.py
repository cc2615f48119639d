"""What breaks first when a fleet gets more than it holds, and why."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.planning.search.promises import Promise
from simlora.planning.search.trial import Kept, Outcome
from simlora.results.phases import AFTER_IT, BEFORE_FIRST_TOKEN, PHASE_WORDS, PHASES

_FULL_KV, _FULL_BATCH = 0.97, 0.9


@dataclass(frozen=True, slots=True)
class Break:
    """The promise that is missed by most, in a run that is not ended early, and the phase of its
    tier's requests that has grown most: from `before_s` to `after_s` seconds on average (None:
    there is no load to compare with, and the phase is the longest)."""

    promise: Promise
    kept: Kept
    phase: str
    before_s: float | None
    after_s: float
    pressure: str

    @property
    def sentence(self) -> str:
        """What breaks, and why."""
        measured = self.kept.measured
        told = "no bound" if measured is None else self.promise.figure(measured)
        promised = self.promise.figure(self.promise.value)
        grows = f"takes {self.after_s:.3g} s"
        if self.before_s is not None:
            grows = f"goes from {self.before_s:.3g} to {self.after_s:.3g} s"
        return (
            f"{self.promise.name} breaks first: {told} against {promised} promised; {self.phase} "
            f"{grows} on average, {self.pressure}"
        )


def first_break(
    promises: tuple[Promise, ...], holds: Outcome | None, breaks: Outcome
) -> Break | None:
    """What breaks in a complete run, against one that holds if there is one; None if nothing
    does."""
    missed = [
        (kept, promise)
        for promise, kept in zip(promises, breaks.kept, strict=True)
        if kept.judged and not kept.met
    ]
    if not missed:
        return None
    kept, promise = max(missed, key=lambda one: _overspent(*one))
    after = breaks.phases[promise.tier]
    before = dict.fromkeys(PHASES, 0.0) if holds is None else holds.phases[promise.tier]
    phase = max(_phases_of(promise.bound), key=lambda phase: after[phase] - before[phase])
    return Break(
        promise,
        kept,
        PHASE_WORDS[phase].doing,
        None if holds is None else before[phase],
        after[phase],
        _pressure(phase, breaks),
    )


def _phases_of(bound: str) -> tuple[str, ...]:
    if bound == "ttft_p99_s":
        return BEFORE_FIRST_TOKEN
    if bound == "tpot_p99_s":
        return AFTER_IT
    return PHASES


def _overspent(kept: Kept, promise: Promise) -> float:
    """By how much more requests than allowed broke a promise."""
    return kept.broken / kept.judged / max(promise.allowed, 1e-9)


def _pressure(phase: str, outcome: Outcome) -> str:
    """Why a phase is long, from what the run was short of."""
    if phase == "adapter_wait_s":
        hits = "" if outcome.hit_ratio is None else f" ({outcome.hit_ratio:.1%} are found hot)"
        return f"because adapters are loaded{hits}"
    if outcome.preemptions or outcome.kv_share >= _FULL_KV:
        return (
            f"because KV memory is full ({outcome.kv_share:.0%} of the pool at the peak, "
            f"{outcome.preemptions:,} preemptions)"
        )
    if outcome.batch_share >= _FULL_BATCH:
        return f"because the batch is full ({outcome.batch_share:.0%} of max_num_seqs on average)"
    return (
        f"because steps take long or come late, with {outcome.batch_share:.0%} of max_num_seqs "
        f"running and {outcome.kv_share:.0%} of the pool in use"
    )
