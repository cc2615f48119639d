"""A replica that never runs out of requests serves as many as its capacity is said to be."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.cost.capacity import saturated_s
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.sim import simulate


def overloaded(prompt: int, output: int, **engine: Any) -> Scenario:
    """One tenant and its adapter; half as many requests again as a replica is said to serve."""
    scenario = Scenario.model_validate(
        {
            "name": "overloaded",
            "model": "llama-3.1-8b",
            "fleet": [{"gpu": "h100-80gb"}],
            "tenants": [{"name": "one", "adapter": {"rank": 16, "targets": "all-linear"}}],
            "workload": {
                "rate_rps": 1.0,
                "duration_s": max(20.0, 0.2 * output),
                "prompt_tokens": {"fixed": prompt},
                "output_tokens": {"fixed": output},
            },
            "engine": {"max_model_len": 8192, "max_num_batched_tokens": 2048} | engine,
            "run": {"report": False},
        }
    )
    said_s = saturated_s(expand(scenario), 0, prompt, output)
    return scenario.with_overrides({"workload.rate_rps": 1.5 / said_s})


@pytest.mark.parametrize(
    ("prompt", "output", "engine"),
    [
        (128, 8, {}),  # sixteen prompts a step, which are all of its time
        (64, 4, {}),
        (512, 16, {}),
        (512, 1, {}),  # nothing but prompts
        (600, 180, {}),
        (2000, 400, {}),  # as many as the KV cache holds
        (100, 600, {}),  # a prompt every other step
        (4000, 50, {}),  # one prompt takes several steps
        (8000, 1, {}),
        (64, 4, {"scheduler": {"batching": "separate"}}),
        (128, 8, {"scheduler": {"batching": "separate"}}),
        (600, 180, {"scheduler": {"batching": "separate"}}),
        (300, 100, {"max_num_seqs": 32, "max_num_batched_tokens": 8192}),
    ],
)
def test_an_overloaded_replica_serves_what_it_is_said_to(
    prompt: int, output: int, engine: dict[str, Any]
) -> None:
    scenario = overloaded(prompt, output, **engine)
    summary = simulate(scenario).summary
    assert summary["batch"]["busy_ratio"] > 0.95
    served_s = summary["simulation"]["span_s"] / summary["requests"]["completed"]
    # The simulation fills its batch first and empties it in the end.
    assert saturated_s(expand(scenario), 0, prompt, output) == pytest.approx(served_s, rel=0.1)
