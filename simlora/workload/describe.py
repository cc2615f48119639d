"""Looking at a trace: rates, lengths, who sends, and what a prefix cache could save."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from simlora.workload.blocks import Floats, Ints, Tokens
from simlora.workload.trace import TraceRows, open_trace

_MOST_PREFIX_IDS = 4_000_000  # remembered; keeps the memory of a description bounded
_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def describe_trace(
    path: Path,
    prefix_block_tokens: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Return the statistics of a trace, in one streaming pass.

    `prefix_cache` says which share of all prompt tokens an endless prefix cache would have held:
    kept apart for each adapter, and shared by all. Very long traces with hashes are examined for it
    from the start until 4 million distinct prefix blocks are seen (`rows_examined`).

    Raises:
        UserError: the file is no trace, or a row is bad.
    """
    trace = open_trace(path, prefix_block_tokens)
    gaps = _Gaps()
    prompts, outputs = _Lengths(), _Lengths()
    tenants: Counter[str] = Counter()
    adapters: Counter[str | None] = Counter()
    in_session = 0
    prefixes = _Prefixes(trace.prefix_block_tokens or 0)
    rows_seen = 0
    for _, rows in trace.rows():
        gaps.add(rows.arrival_s)
        prompts.add(rows.prompt_tokens)
        outputs.add(rows.output_tokens)
        _count(tenants, rows.tenant)
        if rows.adapter is not None:
            _count(adapters, rows.adapter)
        if rows.session is not None:
            in_session += int(np.count_nonzero(rows.session >= 0))
        if rows.prefix_hashes is not None:
            prefixes.add(rows)
        rows_seen += len(rows)
        if progress is not None:
            progress(rows_seen)
    named = {name: count for name, count in adapters.items() if name}
    largest = sorted(tenants.values(), reverse=True)
    described: dict[str, Any] = {
        "requests": rows_seen,
        **gaps.summary(),
        "prompt_tokens": prompts.summary(),
        "output_tokens": outputs.summary(),
        "tenants": {
            "count": len(tenants),
            "largest": min(tenants, key=lambda name: (-tenants[name], name)),
            "largest_share": largest[0] / rows_seen,
            "largest_ten_share": sum(largest[:10]) / rows_seen,
        },
        "adapters": None,
        "session_share": in_session / rows_seen,
        "prefix_cache": prefixes.summary() if "prefix_hashes" in trace.columns else None,
    }
    if "adapter" in trace.columns:
        base = 1 - sum(named.values()) / rows_seen
        described["adapters"] = {"count": len(named), "base_model_share": base}
    return described


def _count(counter: Counter[Any], names: Any) -> None:
    values = names.dictionary.to_pylist()
    codes = names.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(values) + 1).tolist()
    for name, count in zip([*values, None], counts, strict=True):
        if count:
            counter[name or None] += count


class _Gaps:
    """Span, rate and the variation of gaps, from running sums."""

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.last_s = 0.0
        self.gaps = 0
        self.sum_of_squares = 0.0

    def add(self, arrival_s: Floats) -> None:
        if self.first_s is None:
            self.first_s = self.last_s = float(arrival_s[0])
            arrival_s = arrival_s[1:]
        if len(arrival_s):
            gaps = np.diff(arrival_s, prepend=self.last_s)
            self.gaps += len(gaps)
            self.sum_of_squares += float(gaps @ gaps)
            self.last_s = float(arrival_s[-1])

    def summary(self) -> dict[str, float | None]:
        span_s = self.last_s - (self.first_s or 0.0)
        if span_s == 0:
            return {"span_s": 0.0, "rate_rps": None, "gap_cv": None}
        mean = span_s / self.gaps
        variance = max(self.sum_of_squares / self.gaps - mean**2, 0.0)
        return {"span_s": span_s, "rate_rps": self.gaps / span_s, "gap_cv": variance**0.5 / mean}


class _Lengths:
    """Exact percentiles of token counts, from a histogram."""

    def __init__(self) -> None:
        self.counts: Ints = np.zeros(1, dtype=np.int64)

    def add(self, tokens: Tokens) -> None:
        more = np.bincount(tokens, minlength=len(self.counts))
        more[: len(self.counts)] += self.counts
        self.counts = more

    def summary(self) -> dict[str, float]:
        cumulated = np.cumsum(self.counts)
        total = int(cumulated[-1])
        mean = float(self.counts @ np.arange(len(self.counts), dtype=np.float64)) / total
        at = {
            name: int(np.searchsorted(cumulated, np.ceil(share * total)))
            for name, share in _PERCENTILES.items()
        }
        return {"mean": mean, **at}


class _Prefixes:
    """What an endless prefix cache would have held."""

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.rows = 0
        self.ids = 0
        self.prompt_tokens = 0
        self.own_tokens = 0
        self.shared_tokens = 0
        self.seen: dict[str | None, set[int]] = {}
        self.seen_by_anyone: set[int] = set()

    def add(self, rows: TraceRows) -> None:
        if self.ids >= _MOST_PREFIX_IDS or rows.prefix_hashes is None:
            return
        users = rows.tenant if rows.adapter is None else rows.adapter
        for hashes, prompt, user in zip(
            rows.prefix_hashes.tolist(),
            rows.prompt_tokens.tolist(),
            users.cast(pa.string()).to_pylist(),
            strict=True,
        ):
            own = self.seen.setdefault(user, set())
            self.own_tokens += min(_held(hashes, own) * self.block_tokens, prompt)
            self.shared_tokens += min(
                _held(hashes, self.seen_by_anyone) * self.block_tokens, prompt
            )
            self.prompt_tokens += prompt
            known = len(own)
            own.update(hashes)
            self.ids += len(own) - known
            self.seen_by_anyone.update(hashes)
        self.rows += len(rows)

    def summary(self) -> dict[str, float]:
        return {
            "block_tokens": self.block_tokens,
            "rows_examined": self.rows,
            "hit_share_per_adapter": self.own_tokens / self.prompt_tokens,
            "hit_share_if_shared": self.shared_tokens / self.prompt_tokens,
        }


def _held(hashes: list[int], seen: set[int]) -> int:
    for position, prefix in enumerate(hashes):
        if prefix not in seen:
            return position
    return len(hashes)
