"""The adapters that a traffic needs."""

from __future__ import annotations

from simlora.scenario.deployment import Deployment
from simlora.workload.blocks import Traffic


def adapters_of(deployment: Deployment, traffic: Traffic) -> set[int]:
    """The adapters that may be asked for: those of the traffic, and their next versions."""
    asked: set[int] = set()
    for block in traffic.blocks():
        asked.update(block.adapter.tolist())
    asked.discard(-1)
    return asked | {deployment.candidates[index] for index in asked & deployment.candidates.keys()}
