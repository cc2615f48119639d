"""Requests that leave a replica without having been served to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlora.serving.request import FAILED, Request

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler


class Withdrawals:
    """Books the requests of one scheduler that fail while they wait, or that the end of the run
    cuts off."""

    def __init__(self, scheduler: BatchScheduler) -> None:
        self._scheduler = scheduler

    def fail_waiting(self, requests: list[Request], reason: str, now: float) -> None:
        """Requests fail that nothing here holds any more."""
        for request in requests:
            self._scheduler.phases.cut(request, now)
            request.status = FAILED
            request.reason = reason
            request.finish_s = now
            self._scheduler.over(request)

    def cut(self, now: float) -> list[Request]:
        """The run ends here. Books what the unfinished requests have had so far, and returns them
        by arrival."""
        scheduler = self._scheduler
        for request in scheduler.running.values():
            if request.finish_step >= 0:
                request.emitted_tokens = scheduler.decodes.emitted_tokens(request)
        everyone = [*scheduler.running.values(), *scheduler.waiting_requests()]
        for request in everyone:
            scheduler.phases.cut(request, now)
        return sorted(everyone, key=lambda request: request.index)
