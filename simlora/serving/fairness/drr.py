"""Deficit round robin (Shreedhar, Varghese, SIGCOMM 1995)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from simlora.scenario.schema import Fairness
from simlora.serving.fairness.base import Rank, place
from simlora.serving.fairness.flow_queues import FlowQueues
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.fairness.lazy_heap import LazyHeap
from simlora.serving.request import Request


@dataclass(slots=True)
class _Flow:
    """`deficit` are the weighted tokens that a flow may take at round `settled`; each later round
    adds its quantum. `ticket` orders the flows of one round."""

    quantum: float
    deficit: float = 0.0
    settled: int = 0
    ticket: int = 0


class DRR:
    """Visits the flows with work in rounds. A visit adds the flow's quantum to its deficit and
    admits requests while the deficit covers `input_weight` x prompt tokens, which it pays for.
    `output_weight` x output tokens are taken off as they are generated: a flow may be in debt, and
    is then passed over until its quanta have paid. A flow without work keeps its debt but no
    deficit, and goes on to pay. The quantum of the flow of least weight is `quantum_tokens`, those
    of others are larger in proportion.

    The round at which the first request of a flow will be covered is known beforehand, so the flows
    wait in a heap by that round, and no visit that admits nothing is carried out.
    """

    def __init__(self, table: FlowTable, options: Fairness) -> None:
        self._flow_of_tenant = table.flow_of_tenant
        self._input_weight = options.input_weight
        self._output_weight = options.output_weight
        unit = options.quantum_tokens / min(table.weights)
        self._flows = [_Flow(unit * weight) for weight in table.weights]
        self._queues = FlowQueues()
        self._visits = LazyHeap()  # flows with work by (round, ticket) of their next visit
        self._round = 0
        self._tickets = 0
        self._visited: int | None = None  # whose visit goes on

    # --- the protocol --------------------------------------------------------------------

    def push(self, request: Request, now: float) -> None:
        flow = self._flow_of_tenant[request.tenant]
        if flow not in self._visits:
            self._settle_idle(flow)
            self._flows[flow].ticket = self._next_ticket()
        self._queues.push(flow, request)
        self._update(flow)

    def peek(self, now: float) -> Request | None:
        return self._queues.head(self._visits.first()) if self._visits else None

    def pop(self, now: float) -> Request:
        request = self.peek(now)
        if request is None:
            raise LookupError("no request waits")
        index = self._flow_of_tenant[request.tenant]
        flow = self._flows[index]
        self._round = int(self._visits.rank(index)[0])
        self._visited = index
        flow.deficit += (self._round - flow.settled) * flow.quantum - self._cost(request)
        flow.settled = self._round
        self._queues.remove(index, request)
        self._update(index)
        return request

    def remove(self, request: Request) -> None:
        flow = self._flow_of_tenant[request.tenant]
        self._queues.remove(flow, request)
        self._update(flow)

    def on_output(self, tenant: int, tokens: int) -> None:
        flow = self._flow_of_tenant[tenant]
        has_work = flow in self._visits
        if not has_work:
            self._settle_idle(flow)
        self._flows[flow].deficit -= self._output_weight * tokens
        if has_work:
            self._update(flow)

    def on_finish(self, request: Request) -> None:
        pass

    def rank(self, request: Request, now: float) -> Rank:
        index = self._flow_of_tenant[request.tenant]
        if index in self._visits:
            return (*self._visits.rank(index), *place(request))
        self._settle_idle(index)
        return (self._covered(self._flows[index], request), self._tickets, *place(request))

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._queues)

    # --- rounds ----------------------------------------------------------------------------

    def _cost(self, request: Request) -> float:
        return 0.0 if request.preemptions else self._input_weight * request.prompt_tokens

    def _covered(self, flow: _Flow, request: Request) -> int:
        """The round at which the flow's deficit covers the request."""
        rounds = ceil((self._cost(request) - flow.deficit) / flow.quantum)
        return max(self._round, flow.settled + rounds)

    def _next_ticket(self) -> int:
        self._tickets += 1
        return self._tickets - 1

    def _settle_idle(self, index: int) -> None:
        """Bring a flow without work to the present round: its quanta have only paid its debt."""
        flow = self._flows[index]
        earned = (self._round - flow.settled) * flow.quantum
        flow.deficit = min(0.0, flow.deficit + earned)
        flow.settled = self._round

    def _update(self, index: int) -> None:
        """The deficit or the first request of a flow have changed."""
        flow = self._flows[index]
        head = self._queues.head(index)
        if head is None:
            self._visits.remove(index)
            self._settle_idle(index)
            if self._visited == index:
                self._visited = None
            return
        covered = self._covered(flow, head)
        if self._visited == index and covered > self._round:
            self._visited = None
            flow.ticket = self._next_ticket()  # behind all that have been visited before it
        self._visits.put(index, (covered, flow.ticket))
