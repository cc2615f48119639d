"""What a replica's state machines are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simlora.scenario.deployment import Deployment
from simlora.serving.loading import LoadPath
from simlora.serving.memory import MemoryPlan

NextUse = Callable[[int, float], float]


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """A replica of one fleet entry. `path` is how adapters come to it; `prefix_block_tokens` what a
    prefix hash stands for. `next_use` tells when an adapter is next asked for after a time
    (infinity: never), where a policy is to know the future."""

    deployment: Deployment
    plan: MemoryPlan
    path: LoadPath
    prefix_block_tokens: int
    next_use: NextUse | None = None
