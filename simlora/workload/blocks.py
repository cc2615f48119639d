"""What every source of traffic yields: requests in columns, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simlora.scenario.traffic import Workload

BLOCK_ROWS = 16_384  # most rows of a block
DEFAULT_PREFIX_BLOCK_TOKENS = 64

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Tokens = NDArray[np.int32]


@dataclass(slots=True)
class RequestBlock:
    """Up to `BLOCK_ROWS` requests in order of arrival; all arrays have one entry a request.

    `prefix_hashes[i]` names consecutive blocks of `Traffic.prefix_block_tokens` tokens from the
    start of prompt `i`: an equal id means an equal whole prefix up to the end of that block. The
    ids may run past the prompt into the answer, which a later turn reuses.
    """

    arrival_s: Floats  # ascending, >= 0
    tenant: Tokens  # index into Deployment.tenants
    adapter: Tokens  # index into Deployment.adapters, -1: the base model
    prompt_tokens: Tokens  # >= 1
    output_tokens: Tokens  # >= 1
    session: Ints  # -1: none
    priority: NDArray[np.int16]
    prefix_hashes: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, rows: Ints) -> RequestBlock:
        """The requests at these positions, in this order."""
        hashes = self.prefix_hashes
        return RequestBlock(
            self.arrival_s[rows],
            self.tenant[rows],
            self.adapter[rows],
            self.prompt_tokens[rows],
            self.output_tokens[rows],
            self.session[rows],
            self.priority[rows],
            None if hashes is None else [hashes[row] for row in rows.tolist()],
        )


class End:
    """The end of a stream: at `duration_s` or after `max_requests`, whichever comes first."""

    def __init__(self, workload: Workload) -> None:
        self.reached = False
        self._duration_s = workload.duration_s
        self._left = workload.max_requests

    def rows(self, arrival_s: Floats) -> int:
        """How many of the next arrivals are still to come; `reached` when they are the last."""
        count = len(arrival_s)
        if self._duration_s is not None:
            count = int(np.searchsorted(arrival_s, self._duration_s))
        if self._left is not None:
            count = min(count, self._left)
            self._left -= count
        self.reached = count < len(arrival_s) or self._left == 0
        return count


@dataclass(frozen=True, slots=True)
class Traffic:
    """A stream of requests that can be opened any number of times, each time the same.

    `total_requests` and `duration_s` (seconds of arrivals) are known for some sources only; they
    serve progress bars and the cut at the end, never the order of requests.
    """

    blocks: Callable[[], Iterator[RequestBlock]]
    total_requests: int | None
    duration_s: float | None
    prefix_block_tokens: int
