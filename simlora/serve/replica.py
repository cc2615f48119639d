"""What answers: one replica behind the HTTP side, of whatever kind."""

from __future__ import annotations

from typing import Any, Protocol

from simlora.live.server import Server
from simlora.scenario.deployment import Deployment
from simlora.serve.answer import Answer
from simlora.serve.bodies import Asked
from simlora.serving.request import Request


class Watcher(Protocol):
    """Who counts what happens."""

    def token(self, request: Request, gap_s: float | None, now: float) -> None:
        """A client has one more token, `gap_s` after the one before; None: its first."""

    def ended(self, request: Request) -> None:
        """The request has been answered, refused, has failed or was given up."""


class Replica(Protocol):
    """A gateway and a server in the event loop of the HTTP side. What it is asked while `run` is
    under way is answered; `answers` are those that have not ended, by request."""

    deployment: Deployment
    server: Server
    answers: dict[int, Answer]

    @property
    def longest(self) -> int:
        """The most tokens that prompt and answer may have together."""

    @property
    def waiting(self) -> int:
        """Requests that have come and are not in the batch."""

    @property
    def lost_s(self) -> float:
        """Time by which the replica has fallen behind the clock for good."""

    def encode(self, asked: Asked) -> list[Any]:
        """The tokens of what is asked, as `ask` takes them; of more than `longest`, perhaps only as
        many as show that. Changes nothing, and may be called by any thread. Raises Problem (400).
        """

    def ask(self, tenant: int, adapter: int, prompt: list[Any], most: int, asked: Asked) -> Answer:
        """A request comes now, for `most` tokens at most. `adapter` is -1 for the base model."""

    def give_up(self, given: Answer, reason: str) -> None:
        """Nobody waits for an answer any more; its memory is free at the next step boundary."""

    async def run(self) -> None:
        """Serve until `stop` is called and what has come is over. May be called once."""

    def stop(self) -> None:
        """No more will be asked."""

    def check(self) -> None:
        """Between two steps: raises AssertionError unless all memory is accounted for."""
