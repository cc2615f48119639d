"""Bounds on the KV cache that tenants and tiers may hold."""

from __future__ import annotations

from collections import Counter

from simlora.scenario.deployment import Deployment
from simlora.serving.batching.base import BatchRule, Push
from simlora.serving.request import Request


class KvBudgets(BatchRule):
    """Counts the prompt and the longest answer of every running request, so that a budget cannot be
    overrun later. A request that alone is over a budget runs when nothing else of it does."""

    def __init__(self, deployment: Deployment, capacity_tokens: int, push: Push) -> None:
        super().__init__(push)
        budgets = deployment.scenario.gateway.kv_budgets
        most = {name: share * capacity_tokens for name, share in budgets.items()}
        self._tier_most = [most.get(name) for name in deployment.tier_names]
        self._tenant_most = {
            tenant.index: most[tenant.name] for tenant in deployment.tenants if tenant.name in most
        }
        self._of_tier: Counter[int] = Counter()
        self._of_tenant: Counter[int] = Counter()

    def allows(self, request: Request, now: float) -> bool:
        """Whether the request may run beside those of its tenant and tier that do."""
        tokens = request.prompt_tokens + request.output_tokens
        return _within(
            tokens, self._of_tier[request.tier], self._tier_most[request.tier]
        ) and _within(
            tokens, self._of_tenant[request.tenant], self._tenant_most.get(request.tenant)
        )

    def joined(self, request: Request, now: float) -> None:
        tokens = request.prompt_tokens + request.output_tokens
        self._of_tier[request.tier] += tokens
        self._of_tenant[request.tenant] += tokens

    def left(self, request: Request, now: float) -> None:
        tokens = request.prompt_tokens + request.output_tokens
        self._of_tier[request.tier] -= tokens
        self._of_tenant[request.tenant] -= tokens
        for other in [other for other in self.parked.values() if self.allows(other, now)]:
            self.release(other, now)


def _within(tokens: int, held: int, most: float | None) -> bool:
    return most is None or held == 0 or held + tokens <= most
