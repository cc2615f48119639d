"""How evenly the tenants were served: Jain's index, and who waited longest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.results.arrays import Floats, Ints

if TYPE_CHECKING:
    from simlora.results.tenants import TenantStatistics
    from simlora.scenario.deployment import Tenant


def weighted_tokens(prompt_tokens: Any, output_tokens: Any) -> Any:
    """Service in tokens, an output token counted as two input tokens: the weights of the Virtual
    Token Counter (Sheng et al., OSDI 2024, arXiv 2401.00588)."""
    return prompt_tokens + 2 * output_tokens


def jain_index(shares: Floats) -> float | None:
    """Jain's index of fairness, `(sum x)^2 / (n * sum x^2)`, of non-negative shares: 1 if all are
    equal, `k / n` if `k` of `n` get the same and the others nothing (Jain, Chiu, Hawe 1984, DEC
    TR-301). None of no shares, and where all are 0.

    >>> jain_index(np.array([3.0, 3.0, 0.0, 0.0]))
    0.5
    """
    largest = float(shares.max(initial=0.0))
    if not largest:
        return None
    scaled = shares / largest  # squares of very small shares would vanish
    return float(scaled.sum() ** 2 / (len(scaled) * (scaled @ scaled)))


def fairness(
    statistics: TenantStatistics, tenants: Sequence[Tenant], tier: Ints, tier_names: Sequence[str]
) -> dict[str, Any]:
    """The `fairness` of a summary, of all tenants and under `tiers` of each tier's; `tier` is by
    tenant. Only tenants that asked for something count, and what cannot be told is None.

    `service_jain`: Jain's index of the share of a tenant's demand that was served, in weighted
    tokens of the whole run. `latency_jain`: of the tenants' mean normalized latencies, which is the
    mean over requests of the E2E latency per output token (Yu et al., Orca, OSDI 2022; Kwon et al.,
    vLLM, SOSP 2023), of those with a completed request after the warm-up. Lengths differ by chance,
    so that a few requests a tenant read below 1 however fair the server is: compare it between
    runs of the same traffic. `longest_wait_s`: the longest wait in queues and for the adapter of
    one request that arrived after the warm-up, completed or not, and the tenant whose it was.
    """
    by_tier = np.argsort(tier, kind="stable")
    bounds = np.cumsum(np.bincount(tier, minlength=len(tier_names)))[:-1]
    return _among(statistics, tenants, np.arange(len(tier))) | {
        "tiers": {
            name: _among(statistics, tenants, members)
            for name, members in zip(tier_names, np.split(by_tier, bounds), strict=True)
        }
    }


def _among(
    statistics: TenantStatistics, tenants: Sequence[Tenant], members: Ints
) -> dict[str, Any]:
    """Fairness among the tenants of these indexes."""
    asked = members[statistics.asked_tokens[members] > 0]
    latency = statistics.normalized_latency_s[asked]
    waits_s = statistics.longest_wait_s[asked]
    waited = asked[~np.isnan(waits_s)]
    longest = int(waited[np.argmax(statistics.longest_wait_s[waited])]) if len(waited) else None
    longest_s = None if longest is None else float(statistics.longest_wait_s[longest])
    return {
        "tenants": len(asked),
        "service_jain": jain_index(statistics.served_share[asked]),
        "latency_jain": jain_index(latency[~np.isnan(latency)]),
        "longest_wait_s": longest_s,
        "longest_wait_tenant": tenants[longest].name if longest is not None and longest_s else None,
    }
