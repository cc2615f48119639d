"""A small platform whose fleet is to be planned."""

from __future__ import annotations

from typing import Any

from simlora.scenario.loading import override_scenario
from simlora.scenario.schema import Scenario

PLANNED: dict[str, Any] = {
    "name": "planned",
    "model": "llama-3.1-8b",
    "fleet": [{"gpu": "l40s"}],
    "tenants": [
        {"name": "gold", "count": 20, "tier": "gold"},
        {"name": "free", "count": 20, "tier": "free", "adapter": {"rank": 8}},
    ],
    "workload": {
        "rate_rps": 25,
        "duration_s": 16,
        "popularity": {"zipf": 0.8},
        "prompt_tokens": {"lognormal": {"mean": 600, "sigma": 0.7, "min": 16, "max": 3000}},
        "output_tokens": {"lognormal": {"mean": 150, "sigma": 0.6, "min": 8, "max": 600}},
    },
    "engine": {
        "max_model_len": 4096,
        "max_num_batched_tokens": 2048,
        "memory": {"mode": "slots", "max_loras": 16, "max_lora_rank": 16},
    },
    "adapters": {"initial_tier": "warm"},
    "tiers": {
        "gold": {"weight": 4, "sla": {"ttft_p99_s": 1.0, "tpot_p99_s": 0.06}},
        "free": {"sla": {"ttft_p99_s": 3.0}},
    },
    "plan": {
        "gpus": ["l40s", "h100-80gb"],
        "tensor_parallel": [1],
        "weights": ["bf16", "fp8"],
        "hot_adapters": [8, 32],
        "max_replicas": 5,
        "replications": 2,
    },
}


def planned(**changes: Any) -> Scenario:
    """The platform with some fields changed, by dotted key with `__` for the dots."""
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    return override_scenario(Scenario.model_validate(PLANNED), overrides)
