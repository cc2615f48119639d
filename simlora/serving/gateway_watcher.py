"""Who is told of what is decided about requests before they reach a replica."""

from __future__ import annotations

from typing import Protocol

from simlora.serving.request import Request


class GatewayWatcher(Protocol):
    """Follows the decisions of a front door, in their order, and changes nothing."""

    def held_back(self, request: Request, wait_s: float) -> None:
        """The request waits for so long before it is sent on, or its client asks again."""

    def turned_away(self, request: Request, *, final: bool) -> None:
        """The request is refused, and says why; not for good if its client will ask again."""

    def sent(self, request: Request) -> None:
        """The request goes to its `replica`."""

    def lost(self, request: Request) -> None:
        """The request's `replica` has broken down under it."""

    def failed(self, request: Request) -> None:
        """The request fails that is on no replica."""
