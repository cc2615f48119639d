"""How long a request's output will be, as a server can know it."""

from __future__ import annotations

from simlora.serving.request import Request

PRIOR_TOKENS = 256.0  # before anything has finished
SMOOTHING = 0.1  # weight of the newest length in the moving average


class OutputLengths:
    """Expected output tokens of a tenant's requests: the exponentially weighted moving average of
    its finished ones. A tenant of whom nothing is known yet starts at the average of all, and that
    at PRIOR_TOKENS. With `oracle` each request's true length is told, for comparison."""

    def __init__(self, oracle: bool = False) -> None:
        self._oracle = oracle
        self._all_tokens = PRIOR_TOKENS
        self._tenant_tokens: dict[int, float] = {}

    def expected(self, request: Request) -> float:
        """Output tokens expected of `request` in all, at least 1."""
        if self._oracle:
            return max(1.0, request.output_tokens)
        return max(1.0, self._tenant_tokens.get(request.tenant, self._all_tokens))

    def learn(self, request: Request) -> None:
        """Take notice of a request that is over. One that was cut short tells no length."""
        tokens = request.emitted_tokens
        if tokens < request.output_tokens:
            return
        known = self._tenant_tokens.get(request.tenant, self._all_tokens)
        self._tenant_tokens[request.tenant] = known + SMOOTHING * (tokens - known)
        self._all_tokens += SMOOTHING * (tokens - self._all_tokens)
