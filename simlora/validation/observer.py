"""What measuring did to the measurements: the monitor that polled the server, as the client saw it.

Those who measured polled `/metrics` every two seconds. vLLM 0.8.5 keeps one time series for each
combination of running and waiting adapters that it has ever logged, so each poll takes longer than
the one before, and the process that answers it can meanwhile neither take in requests nor send
tokens. The engine goes on. It shows in the data: the time between polls exceeds two seconds by just
what such a list would take to write (about 16 us a series and 0.2 us an adapter name in it, from
runs in which nothing waits for a slot), and the p99 of ITL follows that excess run by run (rank
correlation 0.95). Tokens that pile up reach the client in one chunk, which makes gaps fewer and
longer, as long as few requests run: with more than 128 the server takes turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlora.workload.blocks import Floats

if TYPE_CHECKING:
    import pandas as pd

POLL_S = 2.0
SERIES_S = 16e-6
NAME_S = 0.21e-6
# The server builds a tokenizer when it first hears of an adapter.
FIRST_USE_S = 0.28
# Outputs of more requests are handed over in parts, between which the readers get their turn.
MERGED_UP_TO = 128


@dataclass(frozen=True, slots=True)
class Stalls:
    """When the server's front end stood still: `start_s`, ascending, and for how long."""

    start_s: Floats
    length_s: Floats

    def delay_s(self, at_s: Floats) -> Floats:
        """Seconds until whoever comes at `at_s` is attended to."""
        index = np.searchsorted(self.start_s, at_s, side="right") - 1
        known = np.maximum(index, 0)
        end_s = self.start_s[known] + self.length_s[known]
        return np.where(index >= 0, np.maximum(end_s - at_s, 0.0), 0.0)

    def merged_share(self, step_s: float, timeline: pd.DataFrame) -> float:
        """Share of tokens that come in one chunk with an earlier one, at one token a `step_s`."""
        span_s = self.start_s[-1] + self.length_s[-1]
        if span_s <= 0:
            return 0.0
        running = timeline["running"].to_numpy()
        few = running[running <= MERGED_UP_TO].sum() / max(running.sum(), 1)
        return float(few * np.maximum(self.length_s - step_s, 0.0).sum() / span_s)


def stalls(requests: pd.DataFrame, span_s: float, step_s: float) -> Stalls:
    """The stalls of a run that the monitor caused, from its requests and mean step."""
    growth = _stall_growth(requests, span_s, step_s)
    # Each poll begins POLL_S after the last has been answered: d(start) = POLL_S + growth * start.
    count = max(1, math.ceil(math.log1p(growth * span_s / POLL_S) / math.log1p(growth)))
    start_s = POLL_S / growth * np.expm1(np.arange(count) * math.log1p(growth))
    return Stalls(start_s, growth * start_s)


def seen_ttft_s(requests: pd.DataFrame, stalls: Stalls) -> Floats:
    """TTFT as a client sees it whose server stalls."""
    arrival_s = requests["arrival_s"].to_numpy()
    ttft_s = requests["ttft_s"].to_numpy() + stalls.delay_s(arrival_s)
    first = np.zeros(len(requests))
    first[
        requests.reset_index(drop=True).sort_values("arrival_s").drop_duplicates("adapter").index
    ] = 1
    ttft_s = ttft_s + FIRST_USE_S * first
    return ttft_s + stalls.delay_s(arrival_s + ttft_s)


def _stall_growth(requests: pd.DataFrame, span_s: float, step_s: float) -> float:
    """Seconds by which polls get longer, a second of the run."""
    changes, active = _adapter_sets(requests, span_s)
    # Even if the same adapters stay active, two or more requests that come within one step make a
    # combination of waiting adapters that has hardly been there before.
    per_step = len(requests) / span_s * step_s
    several = -math.expm1(-per_step) - per_step * math.exp(-per_step)
    series_per_s = changes / span_s + several / step_s
    return max(series_per_s * (SERIES_S + NAME_S * active), 1e-12)


def _adapter_sets(requests: pd.DataFrame, span_s: float) -> tuple[int, float]:
    """How often an adapter becomes active or idle, and how many are active on average."""
    adapter = requests["adapter"].cat.codes.to_numpy().astype(np.float64)
    arrival_s = requests["arrival_s"].to_numpy()
    finish_s = np.nan_to_num(requests["finish_s"].to_numpy(), nan=span_s)
    order = np.lexsort((arrival_s, adapter))
    # Adapters one after the other on one time axis, so that one running maximum serves all.
    shift_s = adapter[order] * (2 * span_s)
    begin_s, end_s = arrival_s[order] + shift_s, np.maximum.accumulate(finish_s[order] + shift_s)
    fresh = np.concatenate([[True], begin_s[1:] > end_s[:-1]])
    last = np.concatenate([fresh[1:], [True]])
    active_s = (end_s[last] - begin_s[fresh]).sum()
    return 2 * int(fresh.sum()), float(active_s) / span_s
