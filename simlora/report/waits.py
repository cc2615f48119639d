"""Queueing outside of replicas: held back by rate limits, or until a replica has started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from simlora.report.requests import read_requests
from simlora.report.scenario_file import scenario_of
from simlora.report.words import counted, duration, share
from simlora.results.arrays import Bools, Floats
from simlora.results.result import Result
from simlora.scenario.schema import RateLimit
from simlora.serving.gateway import Limiter
from simlora.serving.request import Request

if TYPE_CHECKING:
    import pandas as pd

_LEAST_S = 0.1  # of a wait for a replica; shorter ones are a gateway's overhead
_FEW = 0.01  # of the requests: fewer do not show in a p99
_MUCH = 0.1  # of all queueing
_COLUMNS = (
    "tenant",
    "tier",
    "status",
    "reason",
    "replica",
    "arrival_s",
    "prompt_tokens",
    "output_tokens",
    "queue_s",
    "finish_s",
)


@dataclass(frozen=True, slots=True)
class Waits:
    """Of the completed requests that count: how many there are and how long they queued in sum,
    how many of which tenants rate limits delayed and for how long, and how many waited for a
    replica to start while their pool had none up, and for how long."""

    requests: int = 0
    queued_s: float = 0.0
    delayed: int = 0
    delayed_s: float = 0.0
    tenants: tuple[str, ...] = ()
    starting: int = 0
    starting_s: float = 0.0

    @property
    def mean_s(self) -> float:
        """Seconds of both kinds, on average over all requests."""
        return (self.delayed_s + self.starting_s) / max(self.requests, 1)


def waits_outside(result: Result) -> Waits:
    """Both are derived: delays by sending the requests through their tenants' token buckets once
    more, waits for a start from when the other requests of a pool that may sleep were served.
    Raises UserError if the table of requests cannot be read."""
    limits = _delaying(scenario_of(result))
    pools = result.summary["simulation"]["fleet"]
    sleepers = [index for index, pool in enumerate(pools) if pool.get("min_replicas") == 0]
    if not limits and not sleepers:
        return Waits()
    requests = read_requests(result, _COLUMNS)
    arrival_s, queue_s = requests["arrival_s"].to_numpy(), requests["queue_s"].to_numpy()
    delay_s = np.minimum(_delays(requests, limits), queue_s)
    finish_s = requests["finish_s"].fillna(np.inf).to_numpy()
    firsts = np.cumsum([pool["replicas"] for pool in pools])
    replica = requests["replica"].fillna(-1).to_numpy(int)
    of_pool = np.where(replica < 0, -1, np.searchsorted(firsts, replica, side="right"))
    start_s = np.zeros(len(requests))
    for pool in sleepers:
        here = np.flatnonzero(of_pool == pool)
        if len(here):
            served_s = arrival_s[here] + queue_s[here]
            came_s = arrival_s[here] + delay_s[here]
            start_s[here] = _unserved(came_s, served_s, np.maximum(finish_s[here], served_s))
    start_s[start_s < _LEAST_S] = 0.0
    completed = (requests["status"] == "completed").to_numpy()
    counts: Bools = completed & (arrival_s >= result.summary["simulation"]["warmup_s"])
    delayed = counts & (delay_s > 0)
    return Waits(
        int(counts.sum()),
        float(queue_s[counts].sum()),
        int(delayed.sum()),
        float(delay_s[delayed].sum()),
        tuple(sorted(map(str, requests["tenant"][delayed].unique()))),
        int((counts & (start_s > 0)).sum()),
        float(start_s[counts].sum()),
    )


def waits_told(waits: Waits) -> list[str]:
    """A sentence for each kind of wait that matters, if only for a p99."""
    told = []
    if _matters(waits, waits.delayed, waits.delayed_s):
        one = len(waits.tenants) == 1
        whose = f"tenant {waits.tenants[0]}" if one else counted(len(waits.tenants), "tenant")
        what = "its rate limit" if one else "their rate limits"
        told.append(
            f"Requests of {whose} were delayed by {what}: "
            f"{_figures(waits, waits.delayed, waits.delayed_s)}. More replicas would not shorten "
            "that, only a higher limit."
        )
    if _matters(waits, waits.starting, waits.starting_s):
        told.append(
            "Requests waited for a replica to start, for none was up: "
            f"{_figures(waits, waits.starting, waits.starting_s)}. A replica that is always up "
            "(autoscale.min) or that starts faster would help."
        )
    return told


def _matters(waits: Waits, count: int, waited_s: float) -> bool:
    return count > 0 and (count >= _FEW * waits.requests or waited_s >= _MUCH * waits.queued_s)


def _figures(waits: Waits, count: int, waited_s: float) -> str:
    return (
        f"{counted(count, 'request')}, {duration(waited_s / count)} on average, "
        f"{share(waited_s / waits.queued_s)} of all queueing"
    )


def _delaying(scenario: dict[str, Any]) -> dict[str, RateLimit]:
    """By the name of a tenant or a tier: the limits that delay, and those that a tenant has in
    place of its tier's."""
    asked = (scenario.get("gateway") or {}).get("rate_limits") or {}
    try:
        limits = {name: RateLimit.model_validate(limit) for name, limit in asked.items()}
    except ValidationError:  # written by another version
        return {}
    return limits if any(limit.over_limit == "delay" for limit in limits.values()) else {}


def _delays(requests: pd.DataFrame, limits: dict[str, RateLimit]) -> Floats:
    """Seconds for which each request's tenant's buckets held it back."""
    delay_s = np.zeros(len(requests))
    if not limits:
        return delay_s
    reached = requests[requests["reason"] != "context_length"]  # others never came to a bucket
    reached = reached.assign(row=np.flatnonzero(requests["reason"] != "context_length"))
    for (tenant, tier), own in reached.groupby(["tenant", "tier"], observed=True):
        limit = limits.get(tenant) or limits.get(tier)
        if limit is None or limit.over_limit != "delay":
            continue
        own = own.sort_values("arrival_s", kind="stable")
        limiter, request = Limiter(limit), Request(0, 0.0, 0, 0, 0, 0, 0)
        columns = (own[name].tolist() for name in ("row", "arrival_s", *_COLUMNS[6:8]))
        for row, now, request.prompt_tokens, request.output_tokens in zip(*columns, strict=True):
            delay_s[row] = limiter.wait_s(request, now)
    return delay_s


def _unserved(came_s: Floats, served_s: Floats, finish_s: Floats) -> Floats:
    """How long each request waited, between coming and being served, while none was served."""
    order = np.argsort(served_s, kind="stable")
    begin, end = served_s[order], np.maximum.accumulate(finish_s[order])
    first = np.flatnonzero(np.append(True, begin[1:] > end[:-1]))
    begin, end = begin[first], end[np.append(first[1:] - 1, len(end) - 1)]
    end = np.minimum(end, max(float(served_s.max()), float(begin[-1])))
    edges = np.ravel((begin, end), order="F")
    busy_s = np.repeat(np.cumsum(end - begin), 2)
    busy_s[::2] -= end - begin
    during = np.interp(served_s, edges, busy_s) - np.interp(came_s, edges, busy_s)
    return np.maximum(served_s - came_s - during, 0.0)
