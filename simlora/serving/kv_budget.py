"""Bounds on the KV cache that tenants and tiers may hold."""

from __future__ import annotations

from collections import Counter

from simlora.scenario.deployment import Deployment
from simlora.serving.request import Request


class KvBudgets:
    """Counts the prompt and the longest answer of every running request, so that a budget cannot be
    overrun later. A request that alone is over a budget runs when nothing else of it does."""

    def __init__(self, deployment: Deployment, capacity_tokens: int) -> None:
        budgets = deployment.scenario.gateway.kv_budgets
        self._bounded = bool(budgets)
        most = {name: share * capacity_tokens for name, share in budgets.items()}
        self._tier_most = [most.get(name) for name in deployment.tier_names]
        self._tenant_most = {
            tenant.index: most[tenant.name] for tenant in deployment.tenants if tenant.name in most
        }
        self._of_tier: Counter[int] = Counter()
        self._of_tenant: Counter[int] = Counter()
        self.parked: dict[int, Request] = {}  # by index, in the order in which they were parked

    def allows(self, request: Request) -> bool:
        """Whether the request may run beside those of its tenant and tier that do."""
        if not self._bounded:
            return True
        tokens = request.prompt_tokens + request.output_tokens
        return _within(
            tokens, self._of_tier[request.tier], self._tier_most[request.tier]
        ) and _within(
            tokens, self._of_tenant[request.tenant], self._tenant_most.get(request.tenant)
        )

    def admitted(self, request: Request) -> None:
        """The request has come into the batch."""
        if not self._bounded:
            return
        tokens = request.prompt_tokens + request.output_tokens
        self._of_tier[request.tier] += tokens
        self._of_tenant[request.tenant] += tokens

    def left(self, request: Request) -> list[Request]:
        """The request has left the batch. Returns the parked requests that may run now."""
        if not self._bounded:
            return []
        tokens = request.prompt_tokens + request.output_tokens
        self._of_tier[request.tier] -= tokens
        self._of_tenant[request.tenant] -= tokens
        freed = [other for other in self.parked.values() if self.allows(other)]
        for other in freed:
            del self.parked[other.index]
        return freed


def _within(tokens: int, held: int, most: float | None) -> bool:
    return most is None or held == 0 or held + tokens <= most
