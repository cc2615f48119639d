"""How much work each tenant is expected to bring."""

from __future__ import annotations

import numpy as np

from simlora.scenario.deployment import Deployment
from simlora.scenario.traffic import SessionArrivals, SessionShape
from simlora.workload.blocks import Floats
from simlora.workload.lengths import mean_tokens
from simlora.workload.popularity import targets_of

_MOST_TURNS = 100_000  # of a conversation; longer ones are too rare to count


def tenant_demand(deployment: Deployment) -> list[float]:
    """Return the expected weighted tokens a second of each tenant: its rate, times `input_weight` x
    prompt + `output_weight` x output of `gateway.fairness` on average.

    Rates are `rate_rps_each` or the tenant's part of `rate_rps` by popularity, bursts not counted;
    in a conversation a prompt holds what was said before. Of a trace nothing is known before it is
    read: all tenants are alike, each with a demand of 1.

    Raises:
        UserError: the rates sum to 0, or an `empirical` trace that cannot be read.
    """
    scenario = deployment.scenario
    if scenario.workload.trace is not None:
        return [1.0] * len(deployment.tenants)
    targets = targets_of(deployment)
    shares = np.diff(targets.share_end, prepend=0.0)
    share = np.bincount(targets.tenant, shares, len(deployment.tenants))
    tokens = np.array([_weighted_tokens(deployment, i) for i in range(len(scenario.tenants))])
    groups = np.array([tenant.group for tenant in deployment.tenants])
    demand: Floats = targets.rate_rps * share * tokens[groups]
    return demand.tolist()


def _weighted_tokens(deployment: Deployment, group_index: int) -> float:
    """Mean of a request of a tenant group."""
    scenario = deployment.scenario
    group, workload, weights = (
        scenario.tenants[group_index],
        scenario.workload,
        scenario.gateway.fairness,
    )
    prompt = mean_tokens(group.prompt_tokens or workload.prompt_tokens, "prompt_tokens")
    output = mean_tokens(group.output_tokens or workload.output_tokens, "output_tokens")
    sessions = workload.arrivals
    if isinstance(sessions, SessionArrivals) or sessions == "sessions":
        shape = sessions.sessions if isinstance(sessions, SessionArrivals) else SessionShape()
        said = prompt + output
        prefix = shape.common_prefix_tokens + shape.shared_prefix_tokens
        prompt += prefix + said * _earlier_turns(shape, (shape.max_context_tokens - prefix) / said)
    return weights.input_weight * prompt + weights.output_weight * output


def _earlier_turns(shape: SessionShape, most: float) -> float:
    """Mean number of turns that a turn's prompt still holds. Their number is geometric, as that of
    a conversation's turns is, but that it begins anew after `most`, when the context is full."""
    turns = np.arange(min(max(int(most), 1), _MOST_TURNS))
    chance = (1 - 1 / shape.turns_mean) ** turns
    return float(turns @ chance / chance.sum())
