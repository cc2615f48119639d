"""The less loaded of two."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from simlora.serving.request import Request
from simlora.serving.routing.base import ReplicaView


class PowerOfTwo:
    """Two replicas drawn at random, of which the one with fewer unfinished requests gets the
    request (Mitzenmacher, IEEE TPDS 12(10), 2001): nearly as even as to ask all of them, at two
    questions a request, and without all requests of one moment going to the same replica.

    The draws are a stream of their own: the same in every run, whatever else is random there.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        count = len(replicas)
        if count == 1:
            return 0
        first = self._random.randrange(count)
        second = self._random.randrange(count - 1)
        second += second >= first
        return first if replicas[first].outstanding <= replicas[second].outstanding else second
