"""Virtual counters of service: whoever has had the least is next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence

from simlora.serving.fairness.base import Rank
from simlora.serving.fairness.lazy_heap import LazyHeap


class VirtualCounters(ABC):
    """Service received by each child, in weighted tokens over the child's weight. A subclass says
    from where a child that comes back goes on (`floor`): there must be no credit for idleness."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._weights = weights
        self._values: defaultdict[int, float] = defaultdict(float)
        self._queued = LazyHeap()

    @abstractmethod
    def floor(self) -> float:
        """The least counter of a child that has work again."""

    def standing(self, child: int) -> float:
        """The counter by which a child is served, or would be if it had work now."""
        value = self._values[child]
        return value if child in self._queued else max(value, self.floor())

    def queue(self, child: int, tie: Rank) -> None:
        """A child has work, now or still; of equal counters the least `tie` is served first."""
        value = self._values[child] = self.standing(child)
        self._queued.put(child, (value, *tie))

    def leave(self, child: int) -> None:
        """A child has no work any more."""
        self._queued.remove(child)

    def serve(self, child: int) -> None:  # noqa: B027  (most need not know)
        """A child's first request is admitted, and not charged yet."""

    def charge(self, child: int, cost: float) -> None:
        """A child has had `cost` weighted tokens of service, or that much less if negative."""
        self._values[child] += cost / self._weights[child]
        if child in self._queued:
            self._queued.put(child, (self._values[child], *self._queued.rank(child)[1:]))

    def least(self) -> int:
        """The child to serve. Raises IndexError if none has work."""
        return self._queued.first()

    def rank(self, child: int) -> Rank:
        """The counter of a child with work, and its tie. Raises KeyError if it has none."""
        return self._queued.rank(child)

    def __contains__(self, child: int) -> bool:
        return child in self._queued

    def __len__(self) -> int:
        return len(self._queued)
