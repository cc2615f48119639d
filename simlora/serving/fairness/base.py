"""The protocol of a queue discipline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from simlora.serving.request import Request

Rank = tuple[float, ...]  # lesser ones are served first


@runtime_checkable
class QueueDiscipline(Protocol):
    """Says which waiting request is admitted next. Times are seconds and never go back.

    Per request the calls are `push`, then `pop` or `remove`; after a `pop` maybe `push` again
    (preempted), and in the end `on_finish`. A preempted request (`preemptions` above 0) keeps its
    place at the front of its flow, and its prompt is not charged again.
    """

    def push(self, request: Request, now: float) -> None:
        """`request` waits from now on."""

    def peek(self, now: float) -> Request | None:
        """The request to admit next; None if none waits. Changes nothing."""

    def pop(self, now: float) -> Request:
        """Take out what `peek` gives; it is admitted. Raises LookupError if none waits."""

    def remove(self, request: Request) -> None:
        """`request` waits no more and is not admitted: it gave up, or waits for its adapter again.
        Raises KeyError if it was not waiting."""

    def on_output(self, tenant: int, tokens: int) -> None:
        """The tenant's requests have generated that many output tokens since the last call."""

    def on_finish(self, request: Request) -> None:
        """A request is over: completed, or given up (after `remove` if it was waiting then)."""

    def rank(self, request: Request, now: float) -> Rank:
        """Compares a request, waiting here or elsewhere (for its adapter), with those of other
        flows: it would be served before those of greater rank. Good until the next call."""

    def __len__(self) -> int:
        """Requests waiting."""

    def __iter__(self) -> Iterator[Request]:
        """The waiting requests, in the order in which they were pushed."""


def place(request: Request) -> Rank:
    """The order within a flow: what was preempted goes first, then by arrival."""
    return (request.preemptions == 0, request.turn, request.index)
