"""What the pages show of a run, small enough to be handed from process to process.

It imports nothing that takes long, so that a page is there before its first result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run: its summary, what is to say about it, and its tables.

    `gauges`: instants (`time_s`) with requests `running` and `waiting`, GB of the page pools by
    owner, and adapter lookups `cold_per_s` that did not find theirs hot. `ttft`: by `tier` and time
    of arrival, `p99_s`. `tenants`: as in the result. `adapters`: `requests`, `ttft_p99_s`, and
    `held_gb`, the mean GPU memory it took while its requests were in a batch (NaN: its size is not
    known).
    """

    summary: dict[str, Any]
    words: tuple[str, ...]
    gauges: pd.DataFrame
    ttft: pd.DataFrame
    tenants: pd.DataFrame
    adapters: pd.DataFrame

    @property
    def name(self) -> str:
        return str(self.summary["name"])
