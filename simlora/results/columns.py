"""Requests that reached their end, as columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np

from simlora.results.arrays import Bools, Floats, Indexes, Ints
from simlora.serving.request import COMPLETED, Request

_CACHED_ROWS = 2048  # requests whose attributes are read in one go, while they are in the cache

_ATTRIBUTES: tuple[tuple[str, type[np.generic]], ...] = (
    ("index", np.int64),
    ("arrival_s", np.float64),
    ("tenant", np.int32),
    ("tier", np.int32),
    ("adapter", np.int32),
    ("status", np.int8),
    ("adapter_source", np.int8),
    ("replica", np.int16),
    ("session", np.int64),
    ("prompt_tokens", np.int32),
    ("output_tokens", np.int32),
    ("cached_tokens", np.int32),
    ("emitted_tokens", np.int32),
    ("preemptions", np.int32),
    ("attempts", np.int32),
    ("base_fallback", np.bool_),
    ("queue_s", np.float64),
    ("adapter_wait_s", np.float64),
    ("prefill_s", np.float64),
    ("decode_s", np.float64),
    ("preempted_s", np.float64),
    ("first_token_s", np.float64),
    ("finish_s", np.float64),
)
_GETTERS = tuple((name, dtype, attrgetter(name)) for name, dtype in _ATTRIBUTES)


@dataclass(slots=True)
class RequestColumns:
    """One array per attribute of a request, in the order they were recorded.

    `ttft_s`, `tpot_s`, `e2e_s`, `first_token_s` and `finish_s` are NaN where it never came:
    TTFT without a first token, TPOT of a one-token answer, TPOT and E2E of a request that did not
    complete.
    """

    index: Ints
    arrival_s: Floats
    tenant: Indexes
    tier: Indexes
    adapter: Indexes
    status: np.ndarray[Any, np.dtype[np.int8]]
    adapter_source: np.ndarray[Any, np.dtype[np.int8]]
    replica: np.ndarray[Any, np.dtype[np.int16]]
    session: Ints
    prompt_tokens: Indexes
    output_tokens: Indexes
    cached_tokens: Indexes
    emitted_tokens: Indexes
    preemptions: Indexes
    attempts: Indexes
    base_fallback: Bools
    queue_s: Floats
    adapter_wait_s: Floats
    prefill_s: Floats
    decode_s: Floats
    preempted_s: Floats
    first_token_s: Floats
    finish_s: Floats
    reasons: list[str]
    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats

    def __len__(self) -> int:
        return len(self.index)

    @property
    def completed(self) -> Bools:
        completed: Bools = self.status == COMPLETED
        return completed


def columnize(requests: Sequence[Request]) -> RequestColumns:
    """Read the requests' attributes into arrays, and derive the latencies from them."""
    arrays: dict[str, Any] = {
        name: np.empty(len(requests), dtype=dtype) for name, dtype in _ATTRIBUTES
    }
    for start in range(0, len(requests), _CACHED_ROWS):
        part = requests[start : start + _CACHED_ROWS]
        rows = slice(start, start + len(part))
        for name, dtype, getter in _GETTERS:
            arrays[name][rows] = np.fromiter(map(getter, part), dtype=dtype, count=len(part))
    for name in ("first_token_s", "finish_s"):
        arrays[name][arrays[name] < 0] = np.nan
    completed = arrays["status"] == COMPLETED
    gaps = arrays["output_tokens"] - 1
    return RequestColumns(
        **arrays,
        reasons=[request.reason for request in requests],
        ttft_s=arrays["first_token_s"] - arrays["arrival_s"],
        tpot_s=np.where(
            completed & (gaps > 0),
            (arrays["finish_s"] - arrays["first_token_s"]) / np.maximum(gaps, 1),
            np.nan,
        ),
        e2e_s=np.where(completed, arrays["finish_s"] - arrays["arrival_s"], np.nan),
    )
