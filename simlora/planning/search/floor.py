"""What no fleet of a kind can go below, whatever its load is scheduled like: bounds by arithmetic.

All are lower bounds on what the simulator would find, so that what they rule out need not be
simulated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simlora.planning.search.demand import Floats, Requests, Window, completed_share
from simlora.planning.search.promises import LATE_SHARE, Promise
from simlora.scenario.schema import Scenario
from simlora.serving.memory import MemoryPlan
from simlora.timing.base import TimingModel
from simlora.timing.form import StepTiming

ROUNDING = 1e-9  # a bound that a sum's rounding decides decides nothing


@dataclass(frozen=True, slots=True)
class Prices:
    """The figures of the timing form for one fleet, slots and padding included: seconds a step, a
    sequence, a token and so on (see `StepParameters`), and `adapter_parameter_s` and
    `token_parameter_s` for each of an adapter's parameters where these are not padded."""

    step_s: float
    weights_s: float
    sequence_s: float
    token_compute_s: float
    token_s: float
    decode_attended_s: float
    prefill_attended_s: float
    lora_step_s: float  # in a step with any adapter; with one adapter at least
    adapter_parameter_s: float
    lora_token_s: float
    token_parameter_s: float
    request_s: float  # outside of the engine


def prices_of(timing: TimingModel) -> Prices | None:
    """The figures; None for a timing model of one's own, of which no form is known."""
    if not isinstance(timing, StepTiming):
        return None
    p, slots, padded = timing.parameters, timing.slots, timing.padded_parameters
    adapter_s, token_s = p.adapter_s, p.lora_token_s + p.lora_token_slot_s * slots
    if padded is not None:
        adapter_s += p.adapter_parameter_s * padded
        token_s += p.lora_token_parameter_s * padded
    return Prices(
        step_s=p.fixed_s,
        weights_s=p.weights_s,
        sequence_s=p.sequence_s,
        token_compute_s=p.token_compute_s,
        token_s=p.token_s,
        decode_attended_s=p.decode_attended_s,
        prefill_attended_s=p.prefill_attended_s,
        lora_step_s=p.lora_step_s + p.lora_slot_s * slots + adapter_s,
        adapter_parameter_s=0.0 if padded is not None else p.adapter_parameter_s,
        lora_token_s=token_s,
        token_parameter_s=0.0 if padded is not None else p.lora_token_parameter_s,
        request_s=timing.request_overhead_s,
    )


_STEPS, _LINEAR, _ATTENTION, _LORA = "of steps", "of weights or compute", "of attention", "of LoRA"


def _prefill_parts(
    prices: Prices, requests: Requests, scenario: Scenario
) -> list[tuple[str, Floats]]:
    """Seconds to the first token of each request on an idle replica with its adapter hot."""
    engine, prompt = scenario.engine, requests.prompt
    chunks = np.ones_like(prompt)
    if engine.scheduler.chunked_prefill:
        chunks = np.ceil(prompt / engine.max_num_batched_tokens)
    linear_s = np.maximum(chunks * prices.weights_s, prompt * prices.token_compute_s)
    return [
        (_STEPS, prices.request_s + chunks * (prices.step_s + prices.sequence_s)),
        (_LINEAR, linear_s + prompt * prices.token_s),
        (_ATTENTION, prompt * (prompt + 1) / 2 * prices.prefill_attended_s),
        (_LORA, _lora_s(prices, requests.parameters, chunks, prompt)),
    ]


def _decode_parts(prices: Prices, requests: Requests) -> list[tuple[str, Floats]]:
    """Seconds from the first token of each request to its last, alone in the batch."""
    steps = requests.output - 1
    linear_s = max(prices.weights_s, prices.token_compute_s) + prices.token_s
    return [
        (_STEPS, steps * (prices.step_s + prices.sequence_s)),
        (_LINEAR, steps * linear_s),
        (_ATTENTION, steps * (requests.prompt + requests.output / 2) * prices.decode_attended_s),
        (_LORA, _lora_s(prices, requests.parameters, steps, steps)),
    ]


def _lora_s(prices: Prices, parameters: Floats, steps: Floats, tokens: Floats) -> Floats:
    adapted = parameters > 0
    seconds: Floats = adapted * (
        steps * (prices.lora_step_s + parameters * prices.adapter_parameter_s)
        + tokens * (prices.lora_token_s + parameters * prices.token_parameter_s)
    )
    return seconds


@dataclass(frozen=True, slots=True)
class LatencyFloor:
    """The least that a promised figure can be on a fleet of any size: that of the request at its
    percentile, in `parts` of seconds by what takes them."""

    promise: Promise
    least_s: float
    prompt_tokens: int
    output_tokens: int
    parts: tuple[tuple[str, float], ...]

    @property
    def ratio(self) -> float:
        """The floor over the promise; above 1 it cannot be met."""
        return self.least_s / self.promise.value

    def sentence(self, fleet: str) -> str:
        """What bounds it, with its arithmetic."""
        terms = " + ".join(f"{_seconds(s)} {what}" for what, s in self.parts if s >= 5e-5)
        length = f"{self.prompt_tokens:,} prompt"
        if self.promise.bound != "ttft_p99_s":
            length += f" and {self.output_tokens:,} output"
        return (
            f"{self.promise.name} is promised within {_seconds(self.promise.value)}, but on "
            f"{fleet} a request at that percentile ({length} tokens), alone and with its adapter "
            f"hot, takes {terms} = {_seconds(self.least_s)}"
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.9995 else f"{1e3 * seconds:.3g} ms"


def latency_floors(
    prices: Prices, scenario: Scenario, promises: Sequence[Promise], requests: Requests
) -> list[LatencyFloor]:
    """The floor of every promised percentile of a tier that has requests."""
    measured = requests.arrival_s >= scenario.run.warmup_s
    floors = []
    for promise in promises:
        if promise.bound == "availability":
            continue
        rows = measured & (requests.tier == promise.tier)
        if promise.bound == "tpot_p99_s":
            rows &= requests.output > 1
        if not rows.any():
            continue
        of_tier = requests.take(rows)
        parts = _parts(prices, scenario, of_tier, promise.bound)
        seconds = np.sum([terms for _, terms in parts], axis=0)
        share = completed_share(scenario, tuple(promises), promise.tier)
        place = max(0, math.floor((1 - LATE_SHARE) * (share * len(seconds) - 1)))
        at = int(np.argsort(seconds, kind="stable")[place])
        floors.append(
            LatencyFloor(
                promise,
                float(seconds[at]),
                int(of_tier.prompt[at]),
                int(of_tier.output[at]),
                tuple((what, float(terms[at])) for what, terms in parts),
            )
        )
    return floors


def _parts(
    prices: Prices, scenario: Scenario, requests: Requests, bound: str
) -> list[tuple[str, Floats]]:
    """What each request takes at least, by what takes it; of a token if the bound is on TPOT."""
    prefill, decode = _prefill_parts(prices, requests, scenario), _decode_parts(prices, requests)
    if bound == "tpot_p99_s":
        return [(what, terms / (requests.output - 1)) for what, terms in decode]
    if bound == "ttft_p99_s":
        return prefill
    added = dict(prefill)
    for what, terms in decode:
        added[what] = added[what] + terms if what in added else terms
    return list(added.items())


@dataclass(frozen=True, slots=True)
class ReplicaFloor:
    """The fewest replicas that can do the work, because of the requests of one window: they take
    `work_s` seconds of a replica at the least and have to be served within `span_s`."""

    replicas: int
    work_s: float = 0.0
    span_s: float = 0.0
    start_s: float = 0.0
    requests: int = 0

    def sentence(self, fleet: str) -> str:
        """What bounds it, with its arithmetic."""
        return (
            f"{self.requests:,} requests that arrive from {self.start_s:.0f} s on take a replica "
            f"of {fleet} at least {self.work_s:.0f} s in the best of batches, and their tiers "
            f"promise them within {self.span_s:.0f} s: {self.replicas} replicas at the least"
        )


def most_undone(scenario: Scenario, plan: MemoryPlan, requests: Requests) -> int | None:
    """How many requests of one replica can have their first token and wait for their last at most;
    None: any number.

    Those are the ones that run, as long as nothing is preempted. Else they may pile up: a fair
    queue lets newcomers in before whoever was preempted.
    """
    engine = scenario.engine
    if (
        plan.unified
        or requests.cached  # their prompts' lengths are not known here
        or scenario.events
        or scenario.adapters.hot.when_full == "preempt"
        or any(group.rollout is not None for group in scenario.tenants)
    ):
        return None
    blocks = np.sort(np.ceil((requests.prompt + requests.output) / plan.block_tokens))
    if blocks[-engine.max_num_seqs :].sum() > plan.pool_pages // plan.block_pages:
        return None
    return engine.max_num_seqs


def replica_floor(
    prices: Prices,
    scenario: Scenario,
    plan: MemoryPlan,
    spans: Sequence[Window],
    most: int,
    undone: int | None,
) -> ReplicaFloor:
    """The fewest replicas that can serve every window in its time; `most` + 1 if more than `most`
    are needed. `undone`: see `most_undone`."""
    floor = ReplicaFloor(1)
    for span in spans:
        while floor.replicas <= most:
            undone_there = None if undone is None else undone * floor.replicas
            work_s = _work_s(prices, scenario, plan, span, undone_there)
            if work_s <= floor.replicas * span.span_s * (1 + ROUNDING):
                break
            floor = ReplicaFloor(
                floor.replicas + 1, work_s, span.span_s, span.start_s, span.requests
            )
    return floor


def _work_s(
    prices: Prices, scenario: Scenario, plan: MemoryPlan, span: Window, undone: int | None
) -> float:
    """Seconds of steps that the requests of a window take, added up over all replicas, where up to
    `undone` may not be done with (None: any number).

    Every token and every sequence of a step has its price; how many steps there are at least
    follows from the most tokens and sequences that one takes, and from the KV cache: what a step
    attends lies in it.
    """
    engine = scenario.engine
    steps, attended, lora_steps, lora_parameters = (
        float(sums[-1 if undone is None else min(undone, len(sums) - 1)])
        for sums in (
            span.decode_steps,
            span.decode_attended,
            span.decode_lora,
            span.decode_lora_parameters,
        )
    )
    tokens = span.prompt_tokens + steps
    batches = steps / engine.max_num_seqs
    if engine.scheduler.chunked_prefill:
        batches = max(batches, tokens / engine.max_num_batched_tokens)
    if not span.cached:
        batches = max(batches, attended / max(plan.kv_capacity_tokens, 1))
    lora_tokens = span.lora_tokens + lora_steps
    return (
        batches * prices.step_s
        + max(batches * prices.weights_s, tokens * prices.token_compute_s)
        + tokens * prices.token_s
        + (steps + span.requests) * prices.sequence_s
        + attended * prices.decode_attended_s
        + span.prompt_attended * prices.prefill_attended_s
        + lora_steps / engine.max_num_seqs * prices.lora_step_s
        + lora_tokens * prices.lora_token_s
        + (span.lora_token_parameters + lora_parameters) * prices.token_parameter_s
    )
