"""Where the session's last request went."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

from simlora.serving.request import Request
from simlora.serving.routing.base import SLACK_REQUESTS, ReplicaView, key_of, numbers_of
from simlora.serving.routing.rendezvous import Rendezvous

_Session = tuple[int, int]  # tenant, session


class SessionSticky:
    """A session stays on one replica, where its conversation's KV is cached, unless that is
    overloaded: then the session moves to the least loaded, and stays there.

    Overloaded is a replica with `bound` (at least 1) times the mean of unfinished requests or more,
    and at least `slack` of them. New sessions go to the least loaded; of equals, to the one with
    the fewest sessions. A request without a session goes by its adapter, or by its tenant where it
    asks for the base model: to the first in that one's rendezvous order that is not overloaded.

    A session is forgotten after `forget_after_s` seconds without a request, or when `most_sessions`
    others have been there since.
    """

    def __init__(
        self,
        bound: float = 1.5,
        slack: int = SLACK_REQUESTS,
        forget_after_s: float = 1800.0,
        most_sessions: int = 100_000,
    ) -> None:
        self._bound = max(bound, 1.0)
        self._slack = slack
        self._forget_after_s = forget_after_s
        self._most_sessions = most_sessions
        self._now = 0.0  # the latest instant it was told of
        self._homes = Rendezvous()
        # Session to its replica's number and last request's time, in the order of these times.
        self._sessions: OrderedDict[_Session, tuple[int, float]] = OrderedDict()
        self._held: Counter[int] = Counter()  # sessions by replica number

    def __len__(self) -> int:
        """Sessions remembered."""
        return len(self._sessions)

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        self._now = max(self._now, request.arrival_s)
        self._forget()
        numbers = numbers_of(replicas)
        loads = [replica.outstanding for replica in replicas]
        limit = max(self._bound * (sum(loads) + 1) / len(loads), self._slack)
        if request.session < 0:
            order = self._homes.order(key_of(request), numbers)
            return next(index for index in order if loads[index] < limit)
        session = request.tenant, request.session
        number = self._leave(session)
        if number in numbers and loads[numbers.index(number)] < limit:
            index = numbers.index(number)
        else:
            index = min(range(len(loads)), key=lambda i: (loads[i], self._held[numbers[i]]))
        self._sessions[session] = numbers[index], self._now
        self._held[numbers[index]] += 1
        if len(self._sessions) > self._most_sessions:
            self._leave(next(iter(self._sessions)))
        return index

    def _forget(self) -> None:
        """Drop the sessions that have been silent too long."""
        sessions = self._sessions
        while sessions:
            oldest = next(iter(sessions))
            if self._now - sessions[oldest][1] <= self._forget_after_s:
                return
            self._leave(oldest)

    def _leave(self, session: _Session) -> int | None:
        """Take a session off its replica. Returns that one's number; None: it has none."""
        number, _ = self._sessions.pop(session, (None, 0.0))
        if number is not None:
            self._held[number] -= 1
        return number
