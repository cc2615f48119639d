"""A batch scheduler that tells what it decides, whoever drives it."""

from __future__ import annotations

from simlora.results.decisions import ReplicaDecisions
from simlora.serving.loading import Transfer
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import FAILED, Request
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.step import StepLog, StepPlan


class LoggedScheduler(BatchScheduler):
    """Takes its decisions down in `decisions`. It plans one step at a time: each is a decision."""

    def __init__(
        self,
        spec: ReplicaSpec,
        log: StepLog,
        finished: list[Request],
        number: int,
        decisions: ReplicaDecisions,
    ) -> None:
        super().__init__(spec, log, finished, number)
        self.decisions = decisions
        self.memory.watch(decisions)
        self.tiers.outbox = _Outbox(decisions)
        self._deciding = False

    def schedule(self, now: float) -> StepPlan | None:
        if self._deciding:  # it has begun anew by itself
            return super().schedule(now)
        self._deciding = True
        plan = super().schedule(now)
        self._deciding = False
        self.decisions.settle()
        if plan is not None:
            plan.steps = 1
            self.decisions.stepped(plan, [request.index for request in self.decoding(plan)])
        return plan

    def complete(self, now: float, steps: int, step_s: float, load_s: float = 0.0) -> None:
        super().complete(now, steps, step_s, load_s)
        self.decisions.settle()
        self.decisions.step += steps

    def over(self, request: Request) -> None:
        if request.status == FAILED:
            self.decisions.failed(request)
        super().over(request)

    def pauses(self, plan: StepPlan) -> bool:
        """Whether the decoding requests pause for a step."""
        return self._separate and bool(plan.chunks)

    def decoding(self, plan: StepPlan) -> list[Request]:
        """The requests past their prefill that get a token by a step, in order of admission."""
        return [] if self.pauses(plan) else self.past_prefill()

    def past_prefill(self) -> list[Request]:
        """The requests past their prefill, in order of admission."""
        return [request for request in self.running.values() if request.finish_step >= 0]


class _Outbox(list[Transfer]):
    """Tells of each transfer that is ordered."""

    def __init__(self, decisions: ReplicaDecisions) -> None:
        super().__init__()
        self._decisions = decisions

    def append(self, transfer: Transfer) -> None:
        self._decisions.ordered(transfer)
        super().append(transfer)
