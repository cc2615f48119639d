"""The front door: which requests come in, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import RateLimit
from simlora.serving.obfuscation import TimingNoise
from simlora.serving.request import Request

ROUNDING_S = 1e-9
BURST_S = 10.0  # of a bucket of tokens whose size is not given


@dataclass(slots=True)
class TokenBucket:
    """`rate` a second sustained, `burst` at once, kept as one time: when it would be full again.

    This is the generic cell rate algorithm, the token bucket without a refill loop.
    """

    rate: float
    burst: float
    full_at_s: float = 0.0

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until the bucket holds `amount`, or is full where it never holds so much."""
        amount = min(amount, self.burst)
        wait_s = max(self.full_at_s, now) - now - (self.burst - amount) / self.rate
        # Who comes when told to must not be found a rounding too early.
        return wait_s if wait_s > ROUNDING_S else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take `amount` out, which may still have to come in."""
        self.full_at_s = max(self.full_at_s, now) + amount / self.rate


class Limiter:
    """The buckets of one tenant."""

    def __init__(self, limit: RateLimit) -> None:
        self.delays = limit.over_limit == "delay"
        self._requests = self._tokens = None
        if limit.rps is not None:
            self._requests = TokenBucket(limit.rps, limit.burst)
        if limit.tokens_per_s is not None:
            burst = limit.burst_tokens or BURST_S * limit.tokens_per_s
            self._tokens = TokenBucket(limit.tokens_per_s, burst)

    def wait_s(self, request: Request, now: float) -> float:
        """Seconds until a request is within the limits; 0 takes it into account. Where the limit
        says `delay` it is so at once, and the wait is to be obeyed."""
        tokens = request.prompt_tokens + request.output_tokens
        taken = [(self._requests, 1.0), (self._tokens, float(tokens))]
        buckets = [(bucket, amount) for bucket, amount in taken if bucket is not None]
        wait_s = max(bucket.wait_s(amount, now) for bucket, amount in buckets)
        if wait_s == 0 or self.delays:
            for bucket, amount in buckets:
                bucket.take(amount, now)
        return wait_s


class Gateway:
    """Admits requests by their length and their tenant's rate limit, and blurs how long they take
    if `engine.prefix_cache.timing_noise_s` asks for it."""

    def __init__(self, deployment: Deployment, longest: Callable[[Request], int]) -> None:
        """`longest`: the most tokens, prompt and answer together, that a request may have."""
        config = deployment.scenario.gateway
        self._limits = config.rate_limits
        self._longest = longest
        self._tenants = deployment.tenants
        self._tier_names = deployment.tier_names
        self._limiters: dict[int, Limiter | None] = {}
        most_s = deployment.scenario.engine.prefix_cache.timing_noise_s
        self._noise = TimingNoise(deployment.scenario.seed, most_s) if most_s else None

    def admit(self, request: Request, now: float) -> float:
        """Decide about a request that arrives at `now`: seconds to hold it back (0: send it on), or
        -1 if it is refused, with the reason on the request."""
        if request.prompt_tokens + request.output_tokens > self._longest(request):
            request.reason = "context_length"
            return -1.0
        limiter = self._limiter(request.tenant) if self._limits else None
        wait_s = 0.0
        if limiter is not None:
            wait_s = limiter.wait_s(request, now)
            if wait_s > 0 and not limiter.delays:
                request.reason, request.retry_after_s = "rate_limit", wait_s
                return -1.0
        return wait_s if self._noise is None else wait_s + self._noise.wait_s(request.index)

    def _limiter(self, tenant: int) -> Limiter | None:
        """The tenant's limiter, by its own name or else by its tier's."""
        if tenant not in self._limiters:
            entry = self._tenants[tenant]
            limit = self._limits.get(entry.name) or self._limits.get(self._tier_names[entry.tier])
            self._limiters[tenant] = Limiter(limit) if limit is not None else None
        return self._limiters[tenant]
