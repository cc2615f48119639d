"""Small deployments and their traffic, for the tests of the workload."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.workload import RequestBlock, open_traffic

COLUMNS = (
    "arrival_s",
    "tenant",
    "adapter",
    "prompt_tokens",
    "output_tokens",
    "session",
    "priority",
)


def deploy(
    *, tenants: list[dict[str, Any]] | None = None, seed: int = 0, **workload: Any
) -> Deployment:
    """A scenario with one GPU; `workload` are its fields."""
    return expand(
        Scenario.model_validate(
            {
                "name": "test",
                "seed": seed,
                "model": {"name": "llama-3.1-8b"},
                "fleet": [{"gpu": "h100-80gb"}],
                "tenants": tenants or [{"name": "tenant", "count": 50}],
                "workload": workload,
            }
        )
    )


def requests_of(deployment: Deployment) -> RequestBlock:
    """All requests in one block."""
    blocks = list(open_traffic(deployment).blocks())
    whole = blocks[0]
    for name in COLUMNS:
        setattr(whole, name, np.concatenate([getattr(block, name) for block in blocks]))
    if whole.prefix_hashes is not None:
        whole.prefix_hashes = [ids for block in blocks for ids in block.prefix_hashes or []]
    return whole


def gaps(block: RequestBlock) -> Any:
    return np.diff(block.arrival_s, prepend=0.0)
