"""A simulation as those who measured saw it: from a client with limits, over a fixed window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment
from simlora.serving.request import Request
from simlora.sim.simulation import Simulation
from simlora.timing import TimingModel, make_timing
from simlora.workload.blocks import Traffic

CHECK_S = 30.0
# After the client has reached its cap the queue keeps its length, and soon its make-up: half of
# these samples of the batch against the other half say when. The run then goes on as in the last
# of the two.
SAMPLES = 20
TAIL_S = SAMPLES // 2 * CHECK_S
STEADY = 0.02


class ClientSimulation(Simulation):
    """Requests that arrive while `client_cap` wait are lost without a trace (None: no such cap).

    With `shorten` the run ends early, once it is stationary at the cap. `on_cap` is called when it
    gets there.
    """

    def __init__(
        self,
        deployment: Deployment,
        traffic: Traffic,
        recorder: Recorder,
        client_cap: int | None,
        shorten: bool,
        timing_of: Callable[[Deployment, int], TimingModel] = make_timing,
        on_cap: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(deployment, traffic, recorder, timing_of)
        self.capped_since_s: float | None = None
        self._cap = client_cap
        self._on_cap = on_cap
        if client_cap is not None and shorten:
            self.env.process(self._watch())

    def _receive(self, request: Request) -> None:
        if self._cap is not None and self._waiting() >= self._cap:
            if self.capped_since_s is None:
                self.capped_since_s = request.arrival_s
                self._on_cap()
            return
        super()._receive(request)

    def _waiting(self) -> int:
        return sum(replica.scheduler.waiting for replica in self.replicas)

    def _watch(self) -> Generator[Any, Any, None]:
        running: deque[int] = deque(maxlen=SAMPLES)
        while True:
            yield self.env.timeout(CHECK_S)
            if self.capped_since_s is None:
                continue
            running.append(sum(len(replica.scheduler.running) for replica in self.replicas))
            if len(running) == SAMPLES and _steady(list(running)):
                if not self._done.triggered:
                    self._done.succeed()
                return


def _steady(samples: list[int]) -> bool:
    half = len(samples) // 2
    before, after = sum(samples[:half]), sum(samples[half:])
    return abs(after - before) <= STEADY * before
