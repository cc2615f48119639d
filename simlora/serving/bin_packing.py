"""Packing work onto replicas."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil, floor, inf

_SLACK = 0.05  # over an even share; less for many bins, so that the last one is not left idle
_ROUNDING = 1e-9


def apportion(places: int, demands: Sequence[float]) -> list[int]:
    """Split places in proportion to demand by largest remainder, at least one each; demands of 0
    throughout are alike. There must be a place for each."""
    if len(demands) > places:
        raise ValueError(f"{places} places are too few for {len(demands)}")
    asked = demands if sum(demands) else [1.0] * len(demands)
    given = [1] * len(asked)
    # Whoever's quota is below one has its place; the others share what is left, and so on.
    sharing = list(range(len(asked)))
    while True:
        left = places - (len(asked) - len(sharing))
        total = sum(asked[i] for i in sharing)
        small = [i for i in sharing if asked[i] * left < total]
        if not small:
            break
        sharing = [i for i in sharing if asked[i] * left >= total]
    quotas = {i: asked[i] * left / total for i in sharing}
    for i in sharing:
        given[i] = max(1, floor(quotas[i]))
    by_remainder = sorted(sharing, key=lambda i: (given[i] - quotas[i], i))
    for i in by_remainder[: places - sum(given)]:
        given[i] += 1
    return given


def pack(demands: Sequence[float], bins: int) -> list[tuple[int, ...]]:
    """The bins of each item, by first-fit decreasing (Johnson, "Fast algorithms for bin packing",
    Journal of Computer and System Sciences 8, 1974).

    A bin's capacity is an even share of all demand and a small slack. An item above that is spread
    evenly over as few bins as it needs, the emptiest; one that fits nowhere goes to the emptiest.
    So no bin gets more than its capacity, or than an even share and one item's part. Demands of 0
    throughout are alike.
    """
    if not sum(demands):
        demands = [1.0] * len(demands)
    share = sum(demands) / bins
    capacity = share * (1 + min(_SLACK, 0.5 / bins)) + _ROUNDING * share
    packed: list[tuple[int, ...]] = [()] * len(demands)
    loads = _Loads(bins)
    for item in sorted(range(len(demands)), key=lambda i: -demands[i]):
        demand = demands[item]
        if demand > capacity:
            parts = ceil(demand / capacity)
            packed[item] = tuple(sorted(loads.emptiest(parts)))
        else:
            packed[item] = (loads.first(capacity - demand),)
        for each in packed[item]:
            loads.add(each, demand / len(packed[item]))
    return packed


class _Loads:
    """What each bin holds, in a tree of minima, so that the first with room is found in few
    steps."""

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self._leaves = 1 << (bins - 1).bit_length()
        self._least = [0.0] * (self._leaves + bins) + [inf] * (self._leaves - bins)
        for node in range(self._leaves - 1, 0, -1):
            self._least[node] = min(self._least[2 * node], self._least[2 * node + 1])

    def first(self, most: float) -> int:
        """The first bin that holds at most so much; if none does, the emptiest."""
        least = self._least
        most = max(most, least[1])
        node = 1
        while node < self._leaves:
            node *= 2
            if least[node] > most:
                node += 1
        return node - self._leaves

    def emptiest(self, count: int) -> list[int]:
        """The bins that hold least, the first of equal ones."""
        return heapq.nsmallest(
            count, range(self._bins), key=lambda each: self._least[self._leaves + each]
        )

    def add(self, each: int, demand: float) -> None:
        node = self._leaves + each
        self._least[node] += demand
        while node > 1:
            node //= 2
            self._least[node] = min(self._least[2 * node], self._least[2 * node + 1])
