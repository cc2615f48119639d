"""All rules of one replica's batch, and the requests that they have parked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from simlora.serving.batching.base import BatchRule
from simlora.serving.batching.grouping import Grouping
from simlora.serving.batching.kv_budget import KvBudgets
from simlora.serving.batching.merged import Merging
from simlora.serving.batching.trust import TrustClasses
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import Request
from simlora.serving.step import StepPlan

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler


class BatchRules:
    """Asks every rule; a request is parked with the first that does not let it join.

    A replica without rules has none of these.
    """

    def __init__(self, scheduler: BatchScheduler, rules: list[BatchRule]) -> None:
        self._scheduler = scheduler
        self._rules = rules
        self.merging = next((rule for rule in rules if isinstance(rule, Merging)), None)
        self.trust = next((rule for rule in rules if isinstance(rule, TrustClasses)), None)

    @staticmethod
    def of(scheduler: BatchScheduler, spec: ReplicaSpec) -> BatchRules | None:
        """Those that the scenario asks for."""
        deployment, push = spec.deployment, scheduler.queue.push
        options = deployment.scenario.engine.scheduler
        rules: list[BatchRule] = []
        if deployment.scenario.gateway.kv_budgets:
            rules.append(KvBudgets(deployment, spec.plan.kv_capacity_tokens, push))
        if options.trust is not None:
            rules.append(TrustClasses(deployment, options.trust, push))
        if options.merged is not None:
            rules.append(Merging(scheduler.tiers, scheduler.running, options.merged, push))
        if options.grouping is not None:
            rules.append(Grouping(options.grouping, push))
        return BatchRules(scheduler, rules) if rules else None

    def lets_in(self, request: Request, now: float) -> bool:
        """Whether the request, first in the queue, may join the batch now; if not, it is parked, or
        comes after others that it has set free."""
        queue = self._scheduler.queue
        for rule in self._rules:
            if not rule.allows(request, now):
                queue.remove(request)
                rule.park(request, now)
                return False
        return queue.peek(now) is request

    def came(self, request: Request, now: float) -> None:
        """The replica has accepted the request."""
        for rule in self._rules:
            rule.came(request, now)

    def joined(self, request: Request, now: float) -> None:
        """The request has come into the batch."""
        for rule in self._rules:
            rule.joined(request, now)

    def left(self, request: Request, now: float) -> None:
        """The request has left the batch."""
        for rule in self._rules:
            rule.left(request, now)

    def over(self, request: Request, now: float) -> None:
        """The request has ended here."""
        for rule in self._rules:
            rule.over(request, now)

    def may_release(self) -> bool:
        """Whether an admission could find requests that are parked now."""
        return any(rule.may_release() for rule in self._rules)

    def exhausted(self, now: float) -> bool:
        """The queue has been looked through. Whether there is something in it again."""
        for rule in self._rules:
            rule.exhausted(now)
        return len(self._scheduler.queue) > 0

    def tick(self, now: float) -> None:
        """A step boundary: do what is due."""
        for rule in self._rules:
            rule.tick(now)

    def wake_at_s(self, now: float) -> float:
        """When the next of them has something to do though nothing comes in or leaves."""
        return min(rule.wake_at_s(now) for rule in self._rules)

    def apply_to(self, plan: StepPlan) -> None:
        """The coming step is computed as the rules have it."""
        if self.merging is not None:
            if self.merging.merged:
                plan.timed = plan.timed.without_lora()
            plan.stall_s = self.merging.take_stall_s()

    # --- who is parked ------------------------------------------------------------------

    def forget(self, request: Request) -> bool:
        """Take out a request that waits no more. False if it is not parked."""
        for rule in self._rules:
            if request.index in rule.parked:
                rule.unpark(request)
                return True
        return False

    def __len__(self) -> int:
        """Requests parked."""
        return sum(len(rule.parked) for rule in self._rules)

    def __iter__(self) -> Iterator[Request]:
        """Them, in no useful order."""
        for rule in self._rules:
            yield from rule.parked.values()
