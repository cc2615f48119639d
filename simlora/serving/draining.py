"""Adapters that an operator takes out of service while requests use them.

An adapter in GPU memory is ABSENT, LOADING, HOT or DRAINING, and counts its requests in the batch.
From the step boundary that carries out its withdrawal on, nobody joins it: requests that wait for
it and those that come later fail with "adapter_withdrawn". Those in the batch are served to their
end, and with the last of them its pages are given back; one that is preempted meanwhile has left,
and fails. What is being loaded leaves as soon as it is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlora.serving.adapter_state import AdapterState
from simlora.serving.request import WAITING, Request

if TYPE_CHECKING:
    from simlora.serving.scheduler import BatchScheduler
    from simlora.serving.withdrawals import Withdrawals

WITHDRAWN = "adapter_withdrawn"


class Draining:
    """Withdraws adapters from one scheduler, and lets them be served again."""

    def __init__(self, scheduler: BatchScheduler, withdrawals: Withdrawals) -> None:
        self._scheduler = scheduler
        self._withdrawals = withdrawals
        self._due: dict[int, AdapterState] = {}
        self._refused: list[Request] = []  # asked for an adapter after its withdrawal
        scheduler.tiers.withdraw = self.drain
        scheduler.tiers.refuse = self._refused.append

    def drain(self, index: int) -> None:
        """Withdraw an adapter at the next step boundary; nothing happens if it is withdrawn."""
        state = self._scheduler.tiers.state(index)
        if not state.withdrawn:
            self._due[index] = state

    def undrain(self, index: int, now: float) -> None:
        """Let an adapter be served again; requests that have been refused stay so. Its copies are
        gone, so that the next load comes from the store, unless it has been in use all the time."""
        state = self._scheduler.tiers.state(index)
        self._due.pop(index, None)
        if state.withdrawn:
            self._fail(list(state.waiting), now)
            self._scheduler.tiers.undrain(state)

    @property
    def pending(self) -> bool:
        """Whether there is anything to do at the next step boundary."""
        return bool(self._due or self._refused)

    def carry_out(self, now: float) -> None:
        """A step boundary: withdraw what is to be, and let those fail that may not wait for it."""
        due, refused = list(self._due.values()), list(self._refused)
        self._due.clear()
        self._refused.clear()
        scheduler = self._scheduler
        waiting = scheduler.waiting_requests() if due else []
        self._fail([request for request in waiting if request.adapter_state in due], now)
        for state in due:
            scheduler.tiers.drain(state, now)
            # One that is pinned has held memory that nobody could ask back.
            scheduler.admitter.blocked = False
            scheduler.tiers.hot.limit_rose = True
        self._fail(refused, now)

    def _fail(self, requests: list[Request], now: float) -> None:
        for request in requests:
            if request.status == WAITING:
                self._withdrawals.give_up(request, WITHDRAWN, now)
