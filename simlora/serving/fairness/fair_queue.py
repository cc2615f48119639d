"""Base of the disciplines that serve the least virtual counter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence

from simlora.serving.fairness.base import Rank, place
from simlora.serving.fairness.counters import VirtualCounters
from simlora.serving.fairness.flow_queues import FlowQueues
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.request import Request


class FairQueue(ABC):
    """Flows in groups, and a virtual counter for either: of the groups with work the one of the
    least counter is served, and in it the flow of the least counter.

    With reserved shares the groups are the tiers, weighted by share; else there is one group. So a
    tier with work has at least its share, and what others leave is divided by the shares of those
    that have work (hierarchical link sharing; Goyal, Vin, Cheng, SIGCOMM 1996). Equal counters of
    groups are decided by the ranks of their first flows, those of flows by their first requests.
    """

    def __init__(
        self, table: FlowTable, counters: Callable[[Sequence[float]], VirtualCounters]
    ) -> None:
        self._flow_of_tenant = table.flow_of_tenant
        shares = table.shares or (1.0,)
        self._group_of_flow = table.tier_of_flow if table.shares else (0,) * len(table.weights)
        self._groups = counters(shares)
        self._flows = [counters(table.weights) for _ in shares]
        self._queues = FlowQueues()

    # --- for the subclass ----------------------------------------------------------------

    @abstractmethod
    def _admission_cost(self, request: Request) -> float:
        """Weighted tokens to charge for a request that is admitted now."""

    def _charge(self, flow: int, cost: float) -> None:
        if not cost:
            return
        group = self._group_of_flow[flow]
        self._flows[group].charge(flow, cost)
        self._groups.charge(group, cost)
        self._update_group(group)

    # --- the protocol --------------------------------------------------------------------

    def push(self, request: Request, now: float) -> None:
        flow = self._flow_of_tenant[request.tenant]
        self._queues.push(flow, request)
        self._update(flow)

    def peek(self, now: float) -> Request | None:
        if not self._queues:
            return None
        return self._queues.head(self._flows[self._groups.least()].least())

    def pop(self, now: float) -> Request:
        request = self.peek(now)
        if request is None:
            raise LookupError("no request waits")
        flow = self._flow_of_tenant[request.tenant]
        group = self._group_of_flow[flow]
        self._groups.serve(group)
        self._flows[group].serve(flow)
        self._queues.remove(flow, request)
        self._update(flow)
        self._charge(flow, self._admission_cost(request))
        return request

    def remove(self, request: Request) -> None:
        flow = self._flow_of_tenant[request.tenant]
        self._queues.remove(flow, request)
        self._update(flow)

    def rank(self, request: Request, now: float) -> Rank:
        flow = self._flow_of_tenant[request.tenant]
        group = self._group_of_flow[flow]
        standing = self._flows[group].standing(flow)
        return (self._groups.standing(group), standing, *place(request))

    def __len__(self) -> int:
        return len(self._queues)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._queues)

    # --- keeping the counters' order -------------------------------------------------------

    def _update(self, flow: int) -> None:
        """The first request of a flow may be another, or none."""
        group = self._group_of_flow[flow]
        head = self._queues.head(flow)
        if head is not None:
            self._flows[group].queue(flow, place(head))
        else:
            self._flows[group].leave(flow)
        self._update_group(group)

    def _update_group(self, group: int) -> None:
        flows = self._flows[group]
        if flows:
            self._groups.queue(group, flows.rank(flows.least()))
        elif group in self._groups:
            self._groups.leave(group)
