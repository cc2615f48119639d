"""Who may share a cached prefix: the namespaces of the prefix cache."""

from __future__ import annotations

from simlora.scenario.deployment import Deployment
from simlora.scenario.traffic import SessionArrivals
from simlora.serving.request import Request

SHARED = 0  # the namespace of what anybody may find


def common_prefix(blocks: int) -> list[int]:
    """The hashes of the platform's own prompt, with which every tenant's prompts begin: they are
    the same for all, and no conversation has them."""
    return [-1 - position for position in range(blocks)]


class Namespaces:
    """The namespaces that `engine.prefix_cache.isolation` asks for.

    A request has one namespace of its own, and under `selective` up to its whole prompt lies in the
    shared one instead: leading blocks equal to the platform's prompt
    (`workload.arrivals.sessions.common_prefix_tokens`), or, if its tenant's prompts are classed as
    public, all of them. What is public is told by content: a prompt that begins otherwise shares
    nothing, wherever the platform's prompt would have ended. A replayed trace does not say where
    that ends, so nothing but the prompts of public tenants is shared there.

    Own namespaces are numbered from 1 by adapter or tenant, and down from -1 by the tenants of
    requests to the base model.
    """

    def __init__(self, deployment: Deployment, block_tokens: int) -> None:
        scenario = deployment.scenario
        self._isolation = scenario.engine.prefix_cache.isolation
        groups = scenario.tenants
        self._public: frozenset[int] = frozenset()
        self._common: list[int] = []
        if self._isolation == "selective":
            self._public = frozenset(
                tenant.index
                for tenant in deployment.tenants
                if groups[tenant.group].prompt_class == "public"
            )
            arrivals = scenario.workload.arrivals
            if isinstance(arrivals, SessionArrivals):
                self._common = common_prefix(arrivals.sessions.common_prefix_tokens // block_tokens)

    def of(self, request: Request, adapter: int) -> int:
        """The namespace of the request's own blocks, computed with that adapter (-1: base model).
        Requests of different namespaces never share a block that is not public."""
        if self._isolation == "shared" or request.tenant in self._public:
            return SHARED
        if self._isolation == "tenant":
            return 1 + request.tenant
        return 1 + adapter if adapter >= 0 else -1 - request.tenant

    def public_blocks(self, request: Request) -> int:
        """How many leading blocks of the request are the platform's prompt, which all share."""
        common, hashes = self._common, request.prefix_hashes
        if not common or not hashes:
            return 0
        if hashes[: len(common)] == common:
            return len(common)
        same = 0
        while same < len(hashes) and hashes[same] == common[same]:
            same += 1
        return same
