"""Seconds for 1,000,000 cache accesses by eviction policy, and how often each hits.

The load: 2,000 adapters of four sizes, asked for by a Zipf(1.0) law, in a cache of a tenth of their
bytes. Aimed at: under 4 s for LRU, SIEVE and S3-FIFO, under 12 s for every other but the bound.
"""

from __future__ import annotations

import time

import numpy as np

from simlora.serving.eviction import EVICTION
from simlora.serving.eviction.replay import Access, replay

ACCESSES = 1_000_000
ADAPTERS = 2_000
SIZES = (25, 50, 100, 200)
POLICIES = [*EVICTION.names(), "lru+priority", "2q+priority", "belady"]


def accesses(count: int = ACCESSES) -> tuple[list[Access], int]:
    """The accesses, and the bytes of all adapters together."""
    rng = np.random.default_rng(0)
    sizes = rng.choice(SIZES, ADAPTERS)
    shares = 1 / np.arange(1, ADAPTERS + 1)
    keys = rng.choice(ADAPTERS, count, p=shares / shares.sum())
    return list(zip(keys.tolist(), sizes[keys].tolist(), strict=True)), int(sizes.sum())


def main() -> None:
    """Print a line for each policy."""
    asked, all_bytes = accesses()
    print(f"\n{len(asked):,} accesses to {ADAPTERS:,} adapters, a tenth of their bytes cached:")
    for policy in POLICIES:
        started_s = time.perf_counter()
        result = replay(asked, policy, all_bytes // 10)
        wall_s = time.perf_counter() - started_s
        print(
            f"  {policy:14} {wall_s:5.2f} s  {result.hit_ratio:6.2%} of accesses hit, "
            f"{result.byte_hit_ratio:6.2%} of bytes"
        )


if __name__ == "__main__":
    main()
