"""What a client is told when it gets no answer, in OpenAI's form."""

from __future__ import annotations

import math
from typing import Any

from simlora.serving.request import FAILED, Request

INVALID, UNAUTHORIZED, FORBIDDEN = (
    "invalid_request_error",
    "authentication_error",
    "permission_error",
)
MISSING, LIMITED, UNAVAILABLE = "not_found_error", "rate_limit_error", "service_unavailable_error"
LATE = "timeout_error"


class Problem(Exception):
    """An HTTP status and one sentence. `retry_after_s`: when to come again, if that helps."""

    def __init__(
        self, status: int, kind: str, message: str, code: str, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"message": str(self), "type": self.kind, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """When to come again, in whole seconds and, as OpenAI's own clients read it, exactly; or
        that no more is read of a body."""
        if self.status == 401:
            return {"www-authenticate": "Bearer"}
        if self.status in (408, 413):
            return {"connection": "close"}
        if self.retry_after_s is None:
            return {}
        return {
            "retry-after": str(math.ceil(self.retry_after_s)),
            "retry-after-ms": f"{1000 * self.retry_after_s:.3f}",
        }


def invalid(message: str, code: str = "invalid_value") -> Problem:
    """The request itself is wrong."""
    return Problem(400, INVALID, message, code)


def draining(retry_after_s: float) -> Problem:
    """The server is about to end."""
    return Problem(
        503, UNAVAILABLE, "the server is shutting down", "shutting_down", max(1.0, retry_after_s)
    )


def ended_badly(request: Request) -> Problem:
    """Why a request was refused, or failed, by what the gateway and the scheduler noted on it."""
    reason = request.reason
    again_s = request.retry_after_s if request.retry_after_s >= 0 else None
    if reason == "context_length":
        asked = request.prompt_tokens + request.output_tokens
        return invalid(
            f"prompt and answer have {asked} tokens, which is more than the model's context",
            "context_length_exceeded",
        )
    if reason == "rate_limit":
        return Problem(429, LIMITED, "the tenant is over its rate limit", reason, again_s)
    if reason == "timeout":
        return Problem(504, LATE, "the request was not complete in its tier's time", reason)
    sentences = {
        "overloaded": "too many requests wait",
        "unavailable": "no replica serves this model at present",
        "cold_start": "the adapter is not in memory yet",
        "adapter_load": "the adapter could not be loaded",
        "adapter_withdrawn": "the adapter has been taken out of service",
        "shutting_down": "the server is shutting down",
        "engine": "the engine has failed",
    }
    sentence = sentences.get(reason, "the request failed")
    if request.status == FAILED and again_s is None:
        again_s = 1.0
    return Problem(503, UNAVAILABLE, sentence, reason or "failed", again_s)
