"""What every source of traffic yields: requests in columns, a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS = 16_384  # most rows of a block

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
