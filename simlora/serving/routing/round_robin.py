"""Every replica in turn."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.serving.request import Request
from simlora.serving.routing.base import ReplicaView, numbers_of


class RoundRobin:
    """Every replica in turn, in the order of their numbers."""

    def __init__(self) -> None:
        self._last = -1  # the number of the replica chosen last

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        numbers = numbers_of(replicas)
        index = self._next(numbers)
        self._last = numbers[index]
        return index

    def foresee(self, adapter: int, replicas: Sequence[ReplicaView]) -> int:
        return self._next(numbers_of(replicas))

    def _next(self, numbers: list[int]) -> int:
        after = [number for number in numbers if number > self._last]
        return numbers.index(min(after or numbers))
