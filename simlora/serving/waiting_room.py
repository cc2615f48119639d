"""Requests that no replica can take for now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from simlora.serving.placement import Choices, Placement
from simlora.serving.request import Request


class WaitingRoom:
    """Keeps them in the order of their coming, and knows whose replicas they would like best.
    `startable` tells of a replica whether it may be started when it is off, and is not broken."""

    def __init__(self, placement: Placement, startable: Callable[[int], bool]) -> None:
        self.requests: dict[int, Request] = {}
        self._placement = placement
        self._startable = startable
        self._waiting: Counter[int] = Counter()  # by id of their choices
        self._choices: dict[int, Choices] = {}

    def add(self, request: Request) -> None:
        """A request waits from now on."""
        choices = self._placement.choices(request.tenant, request.adapter)
        self.requests[request.index] = request
        self._choices[id(choices)] = choices
        self._waiting[id(choices)] += 1

    def pop(self, request: Request) -> Request | None:
        """It waits no more. None if it did not."""
        found = self.requests.pop(request.index, None)
        if found is not None:
            self._waiting[id(self._placement.choices(request.tenant, request.adapter))] -= 1
        return found

    def count(self, pool: int) -> int:
        """The requests for which a replica of a fleet entry is to be started."""
        return sum(
            count
            for key, count in self._waiting.items()
            if count and pool in self._pools(self._choices[key])
        )

    def pools_of(self, request: Request) -> list[int]:
        """The fleet entries of which a replica is to be started for the request: those of the first
        group of its choices that has any."""
        choices = self._placement.choices(request.tenant, request.adapter)
        return sorted(self._pools(choices))

    def _pools(self, choices: Choices) -> set[int]:
        for numbers in choices:
            pools = {self._placement.pool_of(n) for n in numbers if self._startable(n)}
            if pools:
                return pools
        return set()
