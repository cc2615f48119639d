"""Stories of replicas that break, start and stop: a step takes `STEP_S`, whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.scenario.schema import Scenario
from simlora.serving.request import STATUS_NAMES, Request
from simlora.sim.fleet import Fleet
from tests.simulating import Ask, Finished, phases_s, run
from tests.unit.serving.adapter_stories import STEP_S
from tests.unit.serving.adapter_stories import scenario as adapter_scenario

__all__ = ["STEP_S", "Ask", "outcomes", "story", "tell"]


def story(*events: dict[str, Any], **more: Any) -> Scenario:
    """`replicas` (1) to which these things happen, with `autoscale` or without. Of `more`,
    `adapters` changes the tiers field by field; all else are overrides by their dotted path, with
    `__` for a dot."""
    adapters = more.pop("adapters", {})
    replicas, autoscale = more.pop("replicas", 1), more.pop("autoscale", None)
    fleet = {"gpu": "mini", "replicas": replicas, "autoscale": autoscale}
    changes = {name.replace("__", "."): value for name, value in more.items()}
    overrides = {"fleet": [fleet], "events": list(events), **changes}
    return adapter_scenario(**adapters).with_overrides(overrides)


def tell(scenario: Scenario, *asks: Ask) -> Finished:
    """Let it happen. Every request that has an end must have its time accounted for."""
    finished = run(scenario, list(asks))
    assert len(finished.requests) == len(asks)
    for request in finished.requests:
        if STATUS_NAMES[request.status] in ("completed", "failed"):
            e2e_s = request.finish_s - request.arrival_s
            assert phases_s(request) == pytest.approx(e2e_s, abs=1e-9), request.index
    return finished


def outcomes(finished: Finished) -> list[str]:
    """What became of each request: its status, and why."""
    return [_outcome(request) for request in finished.requests]


def _outcome(request: Request) -> str:
    return STATUS_NAMES[request.status] + (f": {request.reason}" if request.reason else "")


def paid_s(finished: Finished) -> list[float]:
    """Seconds that each place of the fleet was paid for."""
    fleet: Fleet = finished.simulation.fleet
    return [member.paid_until(finished.simulation.env.now) for member in fleet.members]
