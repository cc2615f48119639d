"""HTTP connections that do not wait for a request for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 20.0  # in which the headers of a request must have come


class Connection(H11Protocol):
    """One of uvicorn's, closed `HEADERS_S` seconds after it was made, or after the first byte of a
    request, if by then not all of the request's headers are there.

    uvicorn has a limit of its own (5 s) only while nothing comes at all after an answer. Bytes of a
    body that come when its request has been answered already count as those of the next request.
    """

    _due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def _watch(self) -> None:
        """`cycle` is that of the last request whose headers are there."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_watching()
        elif self._due is None:
            self._due = self.loop.call_later(HEADERS_S, self.transport.close)

    def _stop_watching(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
