"""How many adapters stay in a replica's GPU memory, and what one of them costs a month."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.cost.prices import rented_usd_per_gpu_hour
from simlora.errors import UserError
from simlora.results.summary import MONTH_H
from simlora.scenario.catalog import gpu_names, load_model
from simlora.scenario.deployment import expand
from simlora.scenario.schema import ModelChoice, Scenario
from simlora.serving.memory import plan_memory

_GPUS_OF_A_NODE = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class Place:
    """A kind of replica: the fewest GPUs (of 1, 2, 4 and 8) that hold the model, the KV cache that
    was asked for and an adapter. `adapters` stay in memory beside those; the price is of a month,
    with every place taken."""

    gpu: str
    gpus: int
    model: str
    weights: str
    adapters: int
    usd_per_adapter: float


def places(scenario: Scenario) -> list[Place]:
    """The kinds of replicas that `cost.density` compares, by the memory planner that simulations
    use too. Left out are GPUs of which eight do not hold the model, and numbers of GPUs that do
    not divide it."""
    asked = scenario.cost.density
    known = [name for name in gpu_names(scenario.catalog) if name != "cpu"]
    found = []
    for model in asked.models or [scenario.model.name]:
        for gpu in asked.gpus or known:
            place = _place(scenario, gpu, model)
            if place is not None:
                found.append(place)
    return found


def _place(scenario: Scenario, gpu: str, model: str) -> Place | None:
    asked, weights = scenario.cost.density, scenario.model.weights
    pool = next((pool for pool in scenario.fleet if pool.gpu == gpu), None)
    spec = load_model(ModelChoice(name=model, weights=weights), scenario.catalog)
    for gpus in _GPUS_OF_A_NODE:
        alone = Scenario.model_validate(
            {
                "name": "density",
                "model": {"name": model, "weights": weights},
                "fleet": [
                    {
                        "gpu": gpu,
                        "tensor_parallel": gpus,
                        "usd_per_gpu_hour": None if pool is None else pool.usd_per_gpu_hour,
                    }
                ],
                "tenants": [{"name": "one", "adapter": asked.adapter.model_dump()}],
                "workload": {"rate_rps": 1.0},
                "catalog": scenario.catalog.model_dump(),
                "engine": {
                    "max_model_len": min(asked.kv_tokens, 4096, spec.max_position_embeddings),
                    "max_num_seqs": scenario.engine.max_num_seqs,
                    "max_num_batched_tokens": scenario.engine.max_num_batched_tokens,
                },
            }
        )
        try:
            deployment = expand(alone)
            plan = plan_memory(deployment, 0)
        except UserError:
            continue  # too small: the next has more memory; or it does not divide the model
        kv_pages = -(-asked.kv_tokens // plan.block_tokens) * plan.block_pages
        adapters = (plan.pool_pages - kv_pages) // plan.adapter_pages(
            deployment.adapters[0].parameters
        )
        if adapters > 0:
            listed_usd = deployment.gpus[0].usd_per_hour
            usd = gpus * rented_usd_per_gpu_hour(listed_usd, scenario.cost) * MONTH_H
            return Place(gpu, gpus, model, weights, adapters, usd / adapters)
    return None
