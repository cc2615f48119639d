"""A load that a step was to wait for, and that came to nothing."""

from __future__ import annotations

from simlora.serving.adapter_state import HOT, AdapterState
from simlora.serving.scheduler import BatchScheduler


def fail_load(scheduler: BatchScheduler, state: AdapterState, now: float) -> None:
    """The step that is planned, of which nothing has been computed, goes without an adapter: all
    requests that use it or wait for it fail, and it is nowhere but in the store. Nothing happens if
    it has left GPU memory already."""
    if state.hot != HOT:
        return
    tiers, plan = scheduler.tiers, scheduler.plan
    for request, chunk in plan.take_chunks():
        if request.adapter_state is state:
            request.prefilled_tokens += chunk  # what it holds the memory of
        else:
            plan.add_chunk(request, chunk)
    users = [r for r in scheduler.running.values() if r.adapter_state is state]
    for request in users:
        scheduler.drop(request, now)
    waiting = [r for r in scheduler.waiting_requests() if r.adapter_state is state]
    for request in waiting:
        scheduler.forget(request)
    scheduler.withdrawals.fail_waiting([*users, *waiting], "adapter_load", now)
    if state.fresh:
        tiers.hot.give_up(state)
    tiers.hot.evict(state, now)
    tiers.drop_copies(state)
    tiers.stats.transfers_failed += 1
    tiers.stats.loads_given_up += 1
    # Others may have waited for its memory.
    scheduler.admitter.blocked = False
    tiers.hot.limit_rose = True
