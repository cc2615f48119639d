"""What a rule about the batch is asked and told."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from simlora.serving.request import Request

Push = Callable[[Request, float], None]  # back into the queue, at that time


class BatchRule:
    """Says whether a waiting request whose adapter is in GPU memory may join the batch now.

    One that may not is parked here, out of the queue, until the rule releases it. That must come
    with an admission, with something that comes in or leaves, or at `wake_at_s`: then nothing is
    missed between two events. Times are seconds. This base allows everything.
    """

    def __init__(self, push: Push) -> None:
        """`push` takes what is released."""
        self.parked: dict[int, Request] = {}  # by index, in the order in which they were parked
        self._push = push

    def allows(self, request: Request, now: float) -> bool:
        """Whether the request, first in the queue, may join now."""
        return True

    def park(self, request: Request, now: float) -> None:
        """The request may not join, and has been taken out of the queue."""
        self.parked[request.index] = request

    def unpark(self, request: Request) -> None:
        """A parked request waits here no more."""
        del self.parked[request.index]

    def release(self, request: Request, now: float) -> None:
        """A parked request goes back into the queue, to be looked at again."""
        self.unpark(request)
        self._push(request, now)

    def came(self, request: Request, now: float) -> None:
        """The replica has accepted the request."""

    def joined(self, request: Request, now: float) -> None:
        """The request has come into the batch."""

    def left(self, request: Request, now: float) -> None:
        """The request has left the batch: finished, preempted or given up."""

    def over(self, request: Request, now: float) -> None:
        """The request has ended here."""

    def may_release(self) -> bool:
        """Whether `exhausted` would release anything."""
        return False

    def exhausted(self, now: float) -> None:
        """The queue has been looked through, and steps could still take more."""

    def tick(self, now: float) -> None:
        """A step boundary: do what is due."""

    def wake_at_s(self, now: float) -> float:
        """When `tick` will next have something to do though nothing comes in or leaves; `now` if it
        has already, infinity if never."""
        return inf
