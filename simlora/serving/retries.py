"""What clients do when they are turned away."""

from __future__ import annotations

from simlora.scenario.schema import ClientRetries
from simlora.serving.request import Request


def retry_delay_s(clients: ClientRetries, request: Request) -> float | None:
    """Seconds after which the client of a refused request asks again; None: it gives up."""
    if request.attempts > clients.retries or request.retry_after_s < 0:
        return None
    return request.retry_after_s
