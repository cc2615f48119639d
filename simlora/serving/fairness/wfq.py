"""Weighted fair queueing by start tags (SFQ; Goyal, Vin, Cheng, SIGCOMM 1996)."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.scenario.schema import Fairness
from simlora.serving.fairness.counters import VirtualCounters
from simlora.serving.fairness.fair_queue import FairQueue
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.fairness.lengths import OutputLengths
from simlora.serving.fairness.prepaid import PrepaidOutput
from simlora.serving.request import Request


class WFQ(FairQueue):
    """Serves the flow whose first request has the least start tag.

    A flow's start tag is the finish tag of what it was given last, but no less than virtual time
    when it had nothing queued; virtual time is the start tag of the request admitted last. Of the
    ways to approximate weighted fair queueing this is the one that need not know how long a request
    is before it is served, which nobody does here.

    The finish tag is what the flow is charged, over its weight. At admission that is
    `input_weight` x prompt tokens, cached or not, and `output_weight` x the output expected of the
    tenant; charging only what has been generated would let one flow fill the batch before it has
    generated anything. It is corrected as the output comes and when requests finish.
    """

    def __init__(self, table: FlowTable, options: Fairness) -> None:
        super().__init__(table, StartTags)
        self._input_weight = options.input_weight
        self._output_weight = options.output_weight
        self._lengths = OutputLengths(options.oracle)
        self._prepaid = PrepaidOutput()

    def _admission_cost(self, request: Request) -> float:
        flow = self._flow_of_tenant[request.tenant]
        output = self._prepaid.admit(flow, request.index, self._lengths.expected(request))
        prompt = 0 if request.preemptions else request.prompt_tokens
        return self._input_weight * prompt + self._output_weight * output

    def on_output(self, tenant: int, tokens: int) -> None:
        flow = self._flow_of_tenant[tenant]
        self._charge(flow, self._output_weight * self._prepaid.generate(flow, tokens))

    def on_finish(self, request: Request) -> None:
        self._lengths.learn(request)
        flow = self._flow_of_tenant[request.tenant]
        refund = self._prepaid.finish(flow, request.index)
        self._charge(flow, -self._output_weight * refund)


class StartTags(VirtualCounters):
    """Counters with a virtual time. It does not jump at the end of a busy period as the paper's
    does: a batch may go on after the queue is empty, and what it generates is charged then."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__(weights)
        self._virtual_time = 0.0

    def floor(self) -> float:
        return self._virtual_time

    def serve(self, child: int) -> None:
        # A refund may have put a start tag behind; virtual time never goes back.
        self._virtual_time = max(self._virtual_time, self._values[child])
