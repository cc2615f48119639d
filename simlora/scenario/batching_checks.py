"""What must hold across the fields that say how a replica forms its batches."""

from __future__ import annotations

from simlora.scenario.problems import FieldError
from simlora.scenario.schema import Scenario

WHERE = ("engine", "scheduler")


def check_batching(scenario: Scenario) -> None:
    """Raises FieldError for the first thing that does not fit together."""
    engine = scenario.engine
    scheduler, policy = engine.scheduler, scenario.gateway.fairness.policy
    for field in ("order", "pass_over_s"):
        if policy != "fcfs" and getattr(scheduler, field) not in (None, "fcfs"):
            raise FieldError(
                (*WHERE, field),
                f"has no meaning beside gateway.fairness.policy {policy}, which orders the queue",
            )
    if scheduler.order == "strict_fcfs" and scheduler.pass_over_s is not None:
        raise FieldError((*WHERE, "pass_over_s"), "has no meaning: strict_fcfs passes nobody over")
    if scheduler.order == "prefix_first":
        if not engine.prefix_cache.enabled:
            raise FieldError((*WHERE, "order"), "prefix_first needs engine.prefix_cache.enabled")
        if scheduler.pass_over_s is not None and scheduler.pass_over_s < scheduler.age_s:
            raise FieldError(
                (*WHERE, "pass_over_s"),
                f"must be at least age_s ({scheduler.age_s:g}) with prefix_first, "
                f"not {scheduler.pass_over_s:g}",
            )
    if scheduler.grouping is not None and scheduler.grouping.min_requests > engine.max_num_seqs:
        raise FieldError(
            (*WHERE, "grouping", "min_requests"),
            f"must be at most engine.max_num_seqs ({engine.max_num_seqs}), "
            f"not {scheduler.grouping.min_requests}",
        )
    if scheduler.merged is not None and scheduler.trust is not None:
        raise FieldError(
            (*WHERE, "merged"), "and trust both say whom a batch is kept for: keep one of them"
        )
