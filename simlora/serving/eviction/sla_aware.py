"""Least expected damage to the SLAs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from math import exp, log, log1p

from simlora.serving.eviction.base import PolicyContext
from simlora.serving.eviction.ranking import Ranking

HORIZON_S = 600.0
SHORTEST_S = 1e-9  # a reload takes at least
FORGOTTEN = 64  # keys outside the tier that are remembered, beyond twice as many as are in it


class SlaAware:
    """Evicts the adapter whose absence would cost least for the room it gives: seconds to load it
    again, times requests a second that would wait for that, times the weight of their tier, by its
    bytes.

    The rate of an adapter's requests is counted with an exponential decay, `horizon_s` being its
    time constant, over those that found it and those that did not; it is remembered for a while
    after an eviction. All rates decay alike, so only an access changes the order.
    """

    def __init__(self, horizon_s: float = HORIZON_S) -> None:
        self._horizon_s = horizon_s
        context = PolicyContext()
        self._reload_s, self._weight = context.reload_s, context.weight
        # By key, the logarithm of the sum of exp(arrival / horizon) over its arrivals.
        self._level: dict[int, float] = {}
        self._absent: OrderedDict[int, float] = OrderedDict()
        self._sizes: dict[int, int] = {}
        self._ranking = Ranking()

    def bind(self, context: PolicyContext) -> None:
        self._reload_s, self._weight = context.reload_s, context.weight

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._sizes[key] = max(nbytes, 1)
        self._level[key] = self._absent.pop(key, now / self._horizon_s)
        self._rank(key)

    def on_access(self, key: int, now: float) -> None:
        self._level[key] = self._raised(self._level[key], now)
        self._rank(key)

    def on_miss(self, key: int, now: float) -> None:
        absent = self._absent
        known = absent.pop(key, None)
        absent[key] = now / self._horizon_s if known is None else self._raised(known, now)
        self._forget()

    def on_remove(self, key: int) -> None:
        self._ranking.remove(key)
        del self._sizes[key]
        self._absent[key] = self._level.pop(key)
        self._forget()

    def victims(self) -> Iterator[int]:
        return iter(self._ranking)

    def _raised(self, level: float, now: float) -> float:
        arrival = now / self._horizon_s
        high, low = (arrival, level) if arrival > level else (level, arrival)
        return high + log1p(exp(low - high))

    def _rank(self, key: int) -> None:
        damage = self._weight(key) * max(self._reload_s(key), SHORTEST_S) / self._sizes[key]
        self._ranking.put(key, self._level[key] + log(damage))

    def _forget(self) -> None:
        while len(self._absent) > 2 * len(self._level) + FORGOTTEN:
            self._absent.popitem(last=False)
