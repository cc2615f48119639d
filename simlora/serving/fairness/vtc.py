"""Virtual Token Counter (Sheng et al., OSDI 2024; arXiv 2401.00588)."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.scenario.schema import Fairness
from simlora.serving.fairness.counters import VirtualCounters
from simlora.serving.fairness.fair_queue import FairQueue
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.request import Request


class VTC(FairQueue):
    """Serves the queued flow with the least counter, Algorithm 2 of the paper.

    `input_weight` x prompt tokens (w_p) are charged at admission, cached or not, and
    `output_weight` x output tokens (w_q) as they are generated, all over the flow's weight. A flow
    that had nothing queued is lifted to the least counter of the queued flows; if none is queued,
    to that of the flow that left the queue last.

    Two flows of weight 1 that always have requests waiting differ by at most 2U in weighted tokens
    served, U = max(w_p x longest prompt, w_q x tokens that the batch can hold), if w_p <= w_q
    (Theorem 4.4).
    """

    def __init__(self, table: FlowTable, options: Fairness) -> None:
        super().__init__(table, LiftedCounters)
        self._input_weight = options.input_weight
        self._output_weight = options.output_weight

    def _admission_cost(self, request: Request) -> float:
        return 0.0 if request.preemptions else self._input_weight * request.prompt_tokens

    def on_output(self, tenant: int, tokens: int) -> None:
        self._charge(self._flow_of_tenant[tenant], self._output_weight * tokens)

    def on_finish(self, request: Request) -> None:
        pass


class LiftedCounters(VirtualCounters):
    """Counters with the paper's lift."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__(weights)
        self._last_to_leave: int | None = None

    def floor(self) -> float:
        if self._queued:
            return self._values[self.least()]
        return 0.0 if self._last_to_leave is None else self._values[self._last_to_leave]

    def leave(self, child: int) -> None:
        super().leave(child)
        self._last_to_leave = child
