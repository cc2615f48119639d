"""Naming the tenants of an anonymous trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from simlora.workload.blocks import Ints
from simlora.workload.randomness import Purpose, stream

_MOST_DIGITS = 4


def tenant_names(count: int) -> list[str]:
    """Return `tenant-0000` …, the names of a scenario's group `{name: tenant, count: N}`."""
    return [f"tenant-{number:0{_MOST_DIGITS}d}" for number in range(count)]


class TenantLottery:
    """Draws a tenant for each request: `tenant-0000` is the most popular, the k-th has a share
    proportional to k**-zipf. All requests of a conversation go to one tenant."""

    def __init__(self, tenants: int, zipf: float, seed: int) -> None:
        self.names = pa.array(tenant_names(tenants))
        shares = np.arange(1, tenants + 1, dtype=np.float64) ** -zipf
        self.share_end = np.cumsum(shares / shares.sum())
        self.random = stream(seed, Purpose.IMPORT_TENANTS)
        self.salt = int(self.random.integers(2**63))

    def draw(self, count: int, conversation: Ints | None) -> Any:
        """Return an Arrow dictionary array of `count` names."""
        chance = self.random.random(count)
        if conversation is not None:
            known = conversation >= 0
            chance[known] = _uniform_hash(conversation[known], self.salt)
        index = np.searchsorted(self.share_end, chance, side="right")
        np.minimum(index, len(self.names) - 1, out=index)
        return pa.DictionaryArray.from_arrays(pa.array(index.astype(np.int32)), self.names)


def _uniform_hash(keys: Ints, salt: int) -> np.ndarray:
    """Return a number in [0, 1) for each key: the finalizer of splitmix64 (Steele et al. 2014)."""
    mixed = keys.astype(np.uint64) + np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
