"""Scenarios in which every way of an adapter takes a time that is easily told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import AdapterFacts
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import SOURCE_NAMES, Request
from simlora.serving.tier_stats import TierStats
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Simulation
from tests.simulating import Ask, Finished, small_scenario, traffic_of

STEP_S = 0.1
NBYTES = expand(small_scenario()).adapters[0].nbytes  # of every adapter
GBPS = 8e-9  # of a byte a second
PCIE_S = NBYTES / 32e9

WARM_S, NVME_S, STORE_S = 0.25, 0.5, 2.0  # latencies
COPY_S = WARM_S + PCIE_S  # host to GPU memory
READ_S = NVME_S + NBYTES / 1e6  # disk to host memory
DOWNLOAD_S = STORE_S + NBYTES / 0.5e6  # store to host memory


def scenario(
    engine: dict[str, Any] | None = None, workload: dict[str, Any] | None = None, **adapters: Any
) -> Scenario:
    """Four tenants with an adapter each, all in host memory. A step takes `STEP_S`; `adapters`
    change the tiers, field by field."""
    tiers: dict[str, Any] = {
        "warm": {"registration_s": WARM_S},
        "nvme": {"latency_s": NVME_S, "bandwidth_gbps": 1e6 * GBPS},
        "store": {
            "latency_s": STORE_S,
            "bandwidth_gbps": 0.5e6 * GBPS,
            "tls_s": 0,
            "decompression_gbps": None,
            "deserialization_gbps": None,
        },
        "initial_tier": "warm",
    }
    fields: dict[str, Any] = {"tenants": adapters.pop("tenants")} if "tenants" in adapters else {}
    fields |= {"gateway": adapters.pop("gateway")} if "gateway" in adapters else {}
    fields |= {"seed": adapters.pop("seed")} if "seed" in adapters else {}
    for name, value in adapters.items():
        tiers[name] = tiers[name] | value if isinstance(tiers.get(name), dict) else value
    return small_scenario(
        timing={"profile": "tests.timings:ConstantStep"},
        engine={"max_model_len": 4096} | (engine or {}),
        workload={"rate_rps": 1.0} | (workload or {}),
        adapters=tiers,
        **fields,
    )


def slots(count: int) -> dict[str, Any]:
    return {"memory": {"mode": "slots", "max_loras": count, "max_lora_rank": 16}}


def room_for(adapters: float) -> float:
    """So many adapters, in GB."""
    return adapters * NBYTES / 1e9


def sources(finished: Finished) -> list[str]:
    """Where each request's adapter was found."""
    return [SOURCE_NAMES[request.adapter_source] for request in finished.requests]


def stats(finished: Finished) -> TierStats:
    """The counts of the only replica."""
    found: TierStats = finished.schedulers[0].tiers.stats
    return found


def facts(of: Scenario, finished: Finished) -> AdapterFacts:
    """What the results will say of the adapters."""
    return gather_facts(expand(of), finished.simulation, 1.0, False).adapters


def hot_since_s(finished: Finished, adapter: int) -> float:
    """When the adapter last came into GPU memory."""
    since_s: float = finished.schedulers[0].tiers.state(adapter).hot_since_s
    return since_s


def starts_s(request: Request) -> float:
    """When the request was first admitted to the batch."""
    return request.arrival_s + request.queue_s + request.adapter_wait_s


def recorded(of: Scenario, asks: list[Ask], directory: Path) -> Result:
    """The story's result files."""
    deployment = expand(of)
    recorder = Recorder(deployment, directory, warmup_s=0.0)
    simulation = Simulation(deployment, traffic_of(deployment, asks), recorder)
    simulation.run()
    return recorder.close(gather_facts(deployment, simulation, 1.0, False))
