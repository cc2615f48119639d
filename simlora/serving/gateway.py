"""The front door: which requests come in, and when."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import RateLimit
from simlora.serving.request import Request


@dataclass(slots=True)
class TokenBucket:
    """`rps` sustained, `burst` at once, kept as one time: when the bucket would be full again.

    This is the generic cell rate algorithm, the token bucket without a refill loop.
    """

    limit: RateLimit
    full_at_s: float = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until a token is there for a request at `now`; 0 takes it. Where the limit says
        `delay`, a token to come is taken at once and the wait is to be obeyed."""
        interval = 1.0 / self.limit.rps
        full_at = max(self.full_at_s, now)
        wait = full_at - now - (self.limit.burst - 1) * interval
        if wait > 0 and self.limit.over_limit == "reject":
            return wait
        self.full_at_s = full_at + interval
        return max(0.0, wait)


class Gateway:
    """Admits requests by their length and their tenant's rate limit."""

    def __init__(self, deployment: Deployment, max_model_len: int) -> None:
        self._limits = deployment.scenario.gateway.rate_limits
        self._max_model_len = max_model_len
        self._tenants = deployment.tenants
        self._tier_names = deployment.tier_names
        self._buckets: dict[int, TokenBucket | None] = {}

    def admit(self, request: Request, now: float) -> float:
        """Decide about a request that arrives at `now`: seconds to hold it back (0: send it on), or
        -1 if it is refused, with the reason on the request."""
        if request.prompt_tokens + request.output_tokens > self._max_model_len:
            request.reason = "context_length"
            return -1.0
        if not self._limits:
            return 0.0
        bucket = self._bucket(request.tenant)
        if bucket is None:
            return 0.0
        wait = bucket.wait_s(now)
        if wait > 0 and bucket.limit.over_limit == "reject":
            request.reason, request.retry_after_s = "rate_limit", wait
            return -1.0
        return wait

    def _bucket(self, tenant: int) -> TokenBucket | None:
        """The tenant's bucket, by its own name or else by its tier's."""
        if tenant not in self._buckets:
            entry = self._tenants[tenant]
            limit = self._limits.get(entry.name) or self._limits.get(self._tier_names[entry.tier])
            self._buckets[tenant] = TokenBucket(limit) if limit is not None else None
        return self._buckets[tenant]
