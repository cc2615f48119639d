"""The recipe: a published run of vLLM with LoRA as a scenario.

Everything is taken from what the run was asked to do (flags, adapters, rates, data set); nothing
from what was measured, and KV capacity and step times come from the scenario as in any other run.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from pydantic import ValidationError

from simlora.errors import UserError
from simlora.scenario.problems import dotted
from simlora.scenario.schema import Scenario
from simlora.scenario.wording import explain
from simlora.validation.predict import Client
from simlora.validation.rows import BscRun

GPU = "h100-64gb"
MODELS = {
    "llama-2-7b": "llama-2-7b",
    "llama-2-13b": "llama-2-13b",
    "llama-3.1-8b-instruct": "llama-3.1-8b",
    "qwen-2.5-7b-instruct": "qwen2.5-7b",
}
# The client of these measurements opens a connection a request and runs out of them: its waiting
# queue ends at 22-27 thousand whatever is offered, and further requests are lost.
CLIENT_CAP = 22_000


def client_of(run: BscRun) -> Client:
    """How a run was measured. Only the V1 engine has the metrics whose polling stalls a server."""
    return Client(cap=CLIENT_CAP, monitored=run.is_v1)


def scenario_of(run: BscRun, profile: str | None = None, seed: int = 0) -> Scenario:
    """The scenario of a run; `profile` is what its `timing.profile` says (None: the roofline).

    Raises:
        UserError: a model or a data set that the recipe does not know, or flags that vLLM or
            the scenario would refuse; it begins with the run's id.
    """
    model = MODELS.get(run.model)
    if model is None:
        known = ", ".join(MODELS)
        raise UserError(f"{run.run_id}: base_model: must be one of {known}, not {run.model!r}")
    return checked(
        run.run_id,
        {
            "name": f"bsc-{run.config_id}",
            "description": run.run_id,
            "seed": seed,
            "model": model,
            "fleet": [{"gpu": GPU}],
            "tenants": _tenants(run),
            "workload": {
                "duration_s": run.window_s,
                "on_end": "discard",
                **_lengths(run),
            },
            "engine": _engine(run, model),
            "adapters": _adapters(run),
            "timing": {"profile": profile or "roofline"},
        },
    )


def checked(run: str, fields: dict[str, Any]) -> Scenario:
    """The scenario of these fields. Raises UserError, which names the `run`, if it is none."""
    try:
        return Scenario.model_validate(fields)
    except ValidationError as error:
        field, problem = explain(error)
        raise UserError(f"{run}: {dotted(field)}: {problem}") from None


def _tenants(run: BscRun) -> list[dict[str, Any]]:
    """Groups of adapters alike in rank and rate.

    Ranks and rates are each dealt out in turn; the rates are shuffled, so both are independent.
    """
    if max(run.ranks) > run.max_rank:
        raise UserError(
            f"{run.run_id}: adapter_rank_list: rank {max(run.ranks)} is above the server's "
            f"max_lora_rank of {run.max_rank}"
        )
    ranks = [run.ranks[i % len(run.ranks)] for i in range(run.adapters)]
    rates = [run.rates_rps[i % len(run.rates_rps)] for i in range(run.adapters)]
    random.Random(0).shuffle(rates)
    groups = Counter(zip(ranks, rates, strict=True))
    return [
        {
            "name": f"rank{rank}-{str(rate).removesuffix('.0')}rps",
            "count": count,
            "adapter": {"rank": rank},
            "rate_rps_each": rate,
        }
        for (rank, rate), count in sorted(groups.items())
    ]


def _adapters(run: BscRun) -> dict[str, Any]:
    """All adapters are in host memory when V1 starts; V0 reads each from disk at its first use, as
    fast as it was measured to read ranks 8, 16 and 32 for the first time (104, 263, 510 ms)."""
    if run.is_v1:
        return {"initial_tier": "warm", "warm": {"capacity_gb": 10_000}}
    return {
        "initial_tier": "nvme",
        "warm": {"capacity_gb": 10_000},
        "nvme": {"capacity_gb": 10_000, "latency_s": 0.0, "bandwidth_gbps": 2.4},
    }


def _lengths(run: BscRun) -> dict[str, Any]:
    if run.dataset.startswith("ShareGPT"):
        return {"prompt_tokens": "sharegpt", "output_tokens": "sharegpt"}
    if run.dataset == "dummy_dataset_mean.json":
        return {"prompt_tokens": {"fixed": 250}, "output_tokens": {"fixed": 231}}
    raise UserError(
        f"{run.run_id}: dataset: must be ShareGPT… or dummy_dataset_mean.json, not {run.dataset!r}"
    )


def _engine(run: BscRun, model: str) -> dict[str, Any]:
    engine: dict[str, Any] = {
        "preset": "vllm-0.8.5" if run.is_v1 else "vllm-0.5.0",
        "max_num_seqs": run.max_num_seqs,
        "memory": {
            "max_loras": run.slots,
            "max_lora_rank": run.max_rank,
            "slot_embeddings": model.startswith("llama"),
        },
        "max_cpu_loras": max(run.adapters, run.slots),
        "prefix_cache": {"enabled": False},
    }
    if not run.is_v1:
        engine["max_num_batched_tokens"] = max(4096, run.max_num_seqs)
    return engine
