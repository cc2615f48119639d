"""How a run's figures came about: simulated, measured inside of an engine, or from outside."""

from __future__ import annotations

from typing import Any

from simlora.results.schema import MEASURED


def is_measured(summary: dict[str, Any]) -> bool:
    """Whether the run took place, on an engine of its own or on a server."""
    return bool(summary["simulation"]["timing"]["hash"] == MEASURED)


def from_outside(summary: dict[str, Any]) -> bool:
    """Whether a client measured the run: then no replica is known to have had any memory."""
    replicas = summary["memory"]["replicas"]
    return is_measured(summary) and not any(replica["pool_pages"] for replica in replicas)
