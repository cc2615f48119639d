"""Which running request is preempted when memory runs out."""

from __future__ import annotations

from collections.abc import Callable

from simlora.scenario.deployment import Deployment
from simlora.serving.request import Request
from simlora.serving.step import StepPlan

Running = dict[int, Request]  # in order of admission


def victim_chooser(deployment: Deployment) -> Callable[[Running, StepPlan], Request]:
    """What `engine.scheduler.victim` names: the request admitted last, or of those of the least
    tier weight the last; never one whose next chunk is already in the plan."""
    weights = [tier.weight for tier in deployment.tiers]

    def last(running: Running, plan: StepPlan) -> Request:
        # Chunks are planned in order of admission, so the last one's cannot be before another's.
        return next(reversed(running.values()))

    def of_lowest_tier(running: Running, plan: StepPlan) -> Request:
        planned = {request.index for request, _ in plan.chunks}
        others = [r for r in reversed(running.values()) if r.index not in planned]
        return min(others, key=lambda request: weights[request.tier])

    lowest = deployment.scenario.engine.scheduler.victim == "lowest_tier"
    return of_lowest_tier if lowest else last
