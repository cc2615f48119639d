"""Where the first token is expected soonest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from math import exp, inf

from simlora.serving.request import Request
from simlora.serving.routing.base import SLACK_REQUESTS, ReplicaView, numbers_of

_MOST_PENDING = 100_000  # requests whose end is awaited; the oldest is forgotten
_LEAST_TTFT_S = 1e-6  # nothing is so fast that its queue does not matter


class _Experience:
    """What a replica did lately: means of TTFT and of the load it was done under. Each request
    counts by exp(-age / memory_s), so many that finish at one instant count alike."""

    __slots__ = ("_loads", "_seen_s", "_ttfts_s", "_weight", "chosen_s")

    def __init__(self) -> None:
        self.chosen_s = -inf  # when a request was last sent there
        self._seen_s = 0.0
        self._weight = self._ttfts_s = self._loads = 0.0

    def learn(self, ttft_s: float, load: int, now: float, memory_s: float) -> None:
        faded = exp((self._seen_s - now) / memory_s)
        self._seen_s = now
        self._weight = self._weight * faded + 1.0
        self._ttfts_s = self._ttfts_s * faded + ttft_s
        self._loads = self._loads * faded + load

    def ttft_s(self, slack: int) -> float | None:
        """Mean TTFT for each request of the load and the slack; None: nothing is known."""
        if not self._weight:
            return None
        mean_s = max(self._ttfts_s / self._weight, _LEAST_TTFT_S)
        return mean_s / (slack + self._loads / self._weight)


class LatencyAware:
    """The replica with the least expected time to first token (TTFT), learned from the requests
    that it finished: their mean TTFT, times its unfinished requests over those at that time, either
    with `slack` requests added. The mean is an exponentially weighted one over `memory_s` seconds,
    as Finagle's balancer has it (Peak EWMA), which also multiplies latency and load.

    Of a slow replica nothing would be learned any more, so one that has nothing to do and has been
    sent nothing for `probe_after_s` seconds gets the next request. That costs at most one slow
    request in that time, and only one at a time. A replica never tried is taken to be as fast as
    the fastest.

    It learns through `finished`; untold, it takes the replica with the fewest unfinished requests.
    TTFT counts from the replica's queue on and includes waits for adapters, as a real router would
    see it; and it learns a request's TTFT when the request has finished.
    """

    def __init__(
        self,
        memory_s: float = 10.0,
        probe_after_s: float = 10.0,
        slack: int = SLACK_REQUESTS,
    ) -> None:
        self._memory_s = memory_s
        self._probe_after_s = probe_after_s
        self._slack = max(slack, 1)
        self._now = 0.0  # the latest instant it was told of
        self._replicas: dict[int, _Experience] = {}  # by number
        # Request index to the replica's number and unfinished requests when it was chosen.
        self._pending: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        self._now = max(self._now, request.arrival_s)
        numbers = numbers_of(replicas)
        index = self._to_probe(numbers, replicas)
        if index is None:
            index = self._quickest(numbers, replicas)
        number = numbers[index]
        self._replicas.setdefault(number, _Experience()).chosen_s = self._now
        self._pending[request.index] = number, replicas[index].outstanding
        if len(self._pending) > _MOST_PENDING:
            self._pending.popitem(last=False)
        return index

    def foresee(self, adapter: int, replicas: Sequence[ReplicaView]) -> int:
        return self._quickest(numbers_of(replicas), replicas)

    def finished(self, request: Request, replica: ReplicaView) -> None:
        number, load = self._pending.pop(request.index, (None, 0))
        self._now = max(self._now, request.finish_s)
        # Nothing is learned from a request with no first token, or one that another replica gave.
        if number is not None and request.first_token_s >= request.enqueued_s:
            ttft_s = request.first_token_s - request.enqueued_s
            self._replicas[number].learn(ttft_s, load, self._now, self._memory_s)

    def _to_probe(self, numbers: list[int], replicas: Sequence[ReplicaView]) -> int | None:
        """The idle replica that has been left alone the longest, if for too long."""
        latest_s = self._now - self._probe_after_s
        alone = [
            (known.chosen_s, index)
            for index, number in enumerate(numbers)
            if (known := self._replicas.get(number)) is not None
            and known.chosen_s <= latest_s
            and not replicas[index].outstanding
        ]
        return min(alone)[1] if alone else None

    def _quickest(self, numbers: list[int], replicas: Sequence[ReplicaView]) -> int:
        slack = self._slack
        known = [
            self._replicas[number].ttft_s(slack) if number in self._replicas else None
            for number in numbers
        ]
        fastest_s = min((s for s in known if s is not None), default=1.0)

        def expected(index: int) -> tuple[float, int]:
            load = replicas[index].outstanding
            unit_s = known[index]
            return (fastest_s if unit_s is None else unit_s) * (slack + load), load

        return min(range(len(numbers)), key=expected)
