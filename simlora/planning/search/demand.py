"""The requests of a run as sums, for bounds on what serving them takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simlora.planning.search.promises import Promise
from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import Scenario
from simlora.workload.traffic import open_traffic

Floats = NDArray[np.float64]
_SCALES = (1, 2, 4, 8, 16)  # a run is looked at whole, in halves, quarters …


@dataclass(frozen=True, slots=True)
class Requests:
    """Columns of all requests of a run that are not too long for the server: arrival, tier, tokens
    of prompt and answer, and their adapter's parameters (0: base model). `cached`: prompts may be
    found in a prefix cache, and count as one token."""

    arrival_s: Floats
    tier: Floats
    prompt: Floats
    output: Floats
    parameters: Floats
    cached: bool = False

    def take(self, rows: NDArray[np.bool_]) -> Requests:
        """Those where `rows`."""
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Requests(**columns, cached=self.cached)

    def __len__(self) -> int:
        return len(self.arrival_s)


_COLUMNS = ("arrival_s", "tier", "prompt", "output", "parameters")


@dataclass(frozen=True, slots=True)
class Window:
    """Requests that have to be served in `span_s` seconds, whatever is put off as the promises
    allow. Each sum lacks the largest terms of that many; `decoding` are sums of decode steps
    (output tokens but the first), of the tokens that these attend, and of the two LoRA sums, by how
    many requests are not done with decoding at the end of the span: the largest are left out."""

    start_s: float
    span_s: float
    requests: int
    cached: bool
    prompt_tokens: float
    prompt_attended: float
    lora_tokens: float
    lora_token_parameters: float
    decode_steps: Floats
    decode_attended: Floats
    decode_lora: Floats
    decode_lora_parameters: Floats


def read_requests(deployment: Deployment, base_model_only: bool) -> Requests:
    """The requests that the scenario's seed draws. `base_model_only`: adapters may cost nothing."""
    scenario = deployment.scenario
    tier_of = np.array([tenant.tier for tenant in deployment.tenants])
    parameters = np.array([adapter.parameters for adapter in deployment.adapters] + [0.0])
    longest = scenario.engine.max_model_len or deployment.models[0].max_position_embeddings
    parts, cached = [], False
    for block in open_traffic(deployment).blocks():
        prompt = block.prompt_tokens.astype(np.float64)
        output = block.output_tokens.astype(np.float64)
        fits = prompt + output <= longest
        if block.prefix_hashes is not None and scenario.engine.prefix_cache.enabled:
            prompt, cached = np.ones_like(prompt), True
        part = Requests(
            block.arrival_s,
            tier_of[block.tenant].astype(np.float64),
            prompt,
            output,
            np.zeros_like(prompt) if base_model_only else parameters[block.adapter],
        )
        parts.append(part.take(fits))
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS
    }
    return Requests(**columns, cached=cached)


def completed_share(scenario: Scenario, promises: tuple[Promise, ...], tier: int) -> float:
    """The least share of a tier's requests that has to be completed for its promises to be met: a
    tier whose requests may be turned away, and that promises no availability, needs half (fewer
    tell nothing, see the summary)."""
    for promise in promises:
        if promise.tier == tier and promise.bound == "availability":
            return promise.value
    gateway = scenario.gateway
    may_fail = (
        gateway.admission.max_queue
        or gateway.rate_limits
        or gateway.timeouts_s
        or gateway.on_replica_loss == "fail"
        or gateway.when_unavailable == "reject"
        or scenario.adapters.cold_start == "reject"
        or scenario.adapters.loading != type(scenario.adapters.loading)()
        or scenario.workload.on_end == "discard"
    )
    return 0.5 if may_fail else 1.0


def windows(scenario: Scenario, promises: tuple[Promise, ...], requests: Requests) -> list[Window]:
    """Spans of the run with the requests in them that a promise sets a time for."""
    deadline_s: dict[int, float] = {}
    late: dict[int, float] = {}
    for promise in promises:
        if promise.bound in ("ttft_p99_s", "e2e_p99_s"):
            known = deadline_s.get(promise.tier, math.inf)
            deadline_s[promise.tier] = min(known, promise.value)
            late[promise.tier] = promise.allowed
    if not deadline_s or not len(requests):
        return []
    # A tier's promise does not hold before the warm-up is over.
    timed = np.isin(requests.tier, list(deadline_s))
    timed &= requests.arrival_s >= scenario.run.warmup_s
    requests = requests.take(timed)
    dropped = 0
    for tier, share in late.items():
        count = int((requests.tier == tier).sum())
        dropped += math.ceil(count * (1 - completed_share(scenario, promises, tier) * (1 - share)))
    whole_s = float(requests.arrival_s[-1] - requests.arrival_s[0]) if len(requests) else 0.0
    found = []
    for scale in _SCALES:
        span_s = whole_s / scale
        for step in range(2 * scale - 1):
            start_s = float(requests.arrival_s[0]) + step * span_s / 2
            inside = (requests.arrival_s >= start_s) & (requests.arrival_s <= start_s + span_s)
            if inside.sum() > dropped:
                part = requests.take(inside)
                found.append(_window(part, start_s, span_s + max(deadline_s.values()), dropped))
    return found


def _window(part: Requests, start_s: float, span_s: float, dropped: int) -> Window:
    adapted = part.parameters > 0
    steps = part.output - 1
    attended = steps * part.prompt + steps * part.output / 2
    return Window(
        start_s,
        span_s,
        len(part) - dropped,
        part.cached,
        _sum(part.prompt, dropped),
        _sum(part.prompt * (part.prompt + 1) / 2, dropped),
        _sum(part.prompt * adapted, dropped),
        _sum(part.prompt * part.parameters, dropped),
        _sums(steps, dropped),
        _sums(attended, dropped),
        _sums(steps * adapted, dropped),
        _sums(steps * part.parameters, dropped),
    )


def _sum(terms: Floats, dropped: int) -> float:
    return float(np.sort(terms)[: len(terms) - dropped].sum())


def _sums(terms: Floats, dropped: int) -> Floats:
    """The sum without the largest `dropped` + i terms, at place i; 0 at the last."""
    kept = np.sort(terms)[: len(terms) - dropped]
    sums: Floats = np.concatenate([[0.0], np.cumsum(kept)])[::-1].copy()
    return sums
