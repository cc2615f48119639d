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
    allow. Each sum lacks the largest terms of those that may be late or fail. Prompts have to be
    done, as first tokens are promised. `decode_*` are sums of decode steps (output tokens but the
    first), of the tokens that these attend, and of the two LoRA sums: over the requests whose last
    token has to be there as well, and at place i over the others but for the largest i, which may
    have begun and not be done."""

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
        name: np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)])
        for name in _COLUMNS
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
    by_tier: dict[int, dict[str, Promise]] = {}
    for promise in promises:
        by_tier.setdefault(promise.tier, {})[promise.bound] = promise
    timed = {tier: bounds for tier, bounds in by_tier.items() if _first_token_s(bounds) < math.inf}
    # A tier's promise does not hold before the warm-up is over.
    rows = np.isin(requests.tier, list(timed)) & (requests.arrival_s >= scenario.run.warmup_s)
    requests = requests.take(rows)
    if not len(requests):
        return []
    deadline_s = max(map(_first_token_s, timed.values()))
    done_s, dropped, slow = np.full(len(requests), math.inf), 0, 0
    for tier, bounds in timed.items():
        rows = requests.tier == tier
        if scenario.workload.on_end == "discard":  # who is never done breaks no promise of TPOT
            bounds = {name: one for name, one in bounds.items() if name != "tpot_p99_s"}
        done_s[rows] = requests.arrival_s[rows] + _last_token_s(bounds, requests.output[rows])
        late = max(one.allowed for bound, one in bounds.items() if bound in _FIRST_TOKEN)
        count, share = int(rows.sum()), completed_share(scenario, promises, tier)
        dropped += math.ceil(count * (1 - share * (1 - late)))
        if "tpot_p99_s" in bounds:
            slow += math.ceil(count * bounds["tpot_p99_s"].allowed)
    whole_s = float(requests.arrival_s[-1] - requests.arrival_s[0])
    found = []
    for scale in _SCALES:
        span_s = whole_s / scale
        for step in range(2 * scale - 1):
            start_s = float(requests.arrival_s[0]) + step * span_s / 2
            inside = (requests.arrival_s >= start_s) & (requests.arrival_s <= start_s + span_s)
            if inside.sum() > dropped:
                part, end_s = requests.take(inside), start_s + span_s + deadline_s
                over = done_s[inside] <= end_s
                found.append(_window(part, over, start_s, end_s, dropped, slow))
    return found


_FIRST_TOKEN = ("ttft_p99_s", "e2e_p99_s")  # the promises that set a time for it


def _first_token_s(bounds: dict[str, Promise]) -> float:
    """Seconds within which the tier is promised its first tokens; infinity if it is not."""
    return min((bounds[name].value for name in _FIRST_TOKEN if name in bounds), default=math.inf)


def _last_token_s(bounds: dict[str, Promise], output: Floats) -> Floats:
    """Seconds within which requests with so many output tokens are promised the last one; infinity
    where they are not."""
    last_s = np.full(len(output), bounds["e2e_p99_s"].value if "e2e_p99_s" in bounds else math.inf)
    if "tpot_p99_s" in bounds:
        gaps_s = (output - 1) * bounds["tpot_p99_s"].value
        last_s = np.minimum(last_s, _first_token_s(bounds) + gaps_s)
    return last_s


def _window(
    part: Requests,
    over: NDArray[np.bool_],
    start_s: float,
    end_s: float,
    dropped: int,
    slow: int,
) -> Window:
    """The sums over `part`, of which those where `over` have to be done by the end. `slow`: so many
    more than `dropped` may take longer from token to token."""
    adapted = part.parameters > 0
    steps = part.output - 1
    attended = steps * part.prompt + steps * part.output / 2

    def decoding(terms: Floats) -> Floats:
        sums: Floats = _sum(terms[over], dropped + slow) + _sums(terms[~over], dropped)
        return sums

    return Window(
        start_s,
        end_s - start_s,
        len(part) - dropped,
        part.cached,
        _sum(part.prompt, dropped),
        _sum(part.prompt * (part.prompt + 1) / 2, dropped),
        _sum(part.prompt * adapted, dropped),
        _sum(part.prompt * part.parameters, dropped),
        decoding(steps),
        decoding(attended),
        decoding(steps * adapted),
        decoding(steps * part.parameters),
    )


def _sum(terms: Floats, dropped: int) -> float:
    return float(np.sort(terms)[: max(0, len(terms) - dropped)].sum())


def _sums(terms: Floats, dropped: int) -> Floats:
    """The sum without the largest `dropped` + i terms, at place i; 0 at the last."""
    kept = np.sort(terms)[: max(0, len(terms) - dropped)]
    sums: Floats = np.concatenate([[0.0], np.cumsum(kept)])[::-1].copy()
    return sums
