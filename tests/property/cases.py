"""Generated deployments and traffic, made to run short of memory, slots and host tiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.eviction import EVICTION
from simlora.serving.memory import plan_memory
from simlora.workload.blocks import Traffic
from tests.simulating import arrays_traffic, small_scenario, with_pool

# In these short runs a time to live must be short to end, and K small to matter.
EVICTION_NAMES = ["lru", *(name for name in EVICTION.names() if name != "lru"), "ttl-0.2", "ttl-2"]
EVICTION_NAMES.append("belady")
EVICTION_NAMES += [f"{name}+priority" for name in ("lru", "2q", "sieve", "gdsf", "ttl-0.2")]
ROOTS = 3  # system prompts, shared across tenants so that isolation has something to keep apart


@dataclass(frozen=True)
class Load:
    """What is asked. The rows are drawn by numpy from `seed`: quick, and still shrinkable."""

    seed: int
    requests: int
    rate_rps: float
    equal_instants: bool
    most_prompt_tokens: int
    most_output_tokens: int
    prefix_block_tokens: int
    hashed: bool
    tail_s: float  # from the last arrival to the end

    def traffic(self, deployment: Deployment) -> Traffic:
        """The requests for these tenants; some are longer than a request may be."""
        rng = np.random.default_rng(self.seed)
        count = self.requests
        arrival_s = np.cumsum(rng.exponential(1 / self.rate_rps, count))
        if self.equal_instants:
            arrival_s = np.round(arrival_s, 2)
        tenant = rng.integers(0, len(deployment.tenants), count)
        adapter = np.full(count, -1)
        for row, of in enumerate(tenant):
            own = deployment.tenants[of].adapters
            if own and rng.random() < 0.95:
                adapter[row] = own[rng.integers(len(own))]
        prompt = rng.integers(1, self.most_prompt_tokens, count)
        output = rng.integers(1, self.most_output_tokens, count)
        hashes = None
        if self.hashed:
            hashes = [
                self._hashes(rng, row, int(prompt[row] + output[row])) for row in range(count)
            ]
        return arrays_traffic(
            arrival_s,
            tenant,
            adapter,
            prompt,
            output,
            hashes,
            duration_s=float(arrival_s[-1]) + self.tail_s,
            prefix_block_tokens=self.prefix_block_tokens,
        )

    def _hashes(self, rng: np.random.Generator, row: int, tokens: int) -> list[int]:
        """A shared root for the first few blocks, then the request's own."""
        root, split = int(rng.integers(ROOTS)), int(rng.integers(8))
        blocks = tokens // self.prefix_block_tokens
        return [
            1000 * root + block if block < split else 1_000_000 * (row + 1) + block
            for block in range(blocks)
        ]


@dataclass(frozen=True)
class Case:
    """A scenario with its load."""

    scenario: Scenario
    load: Load

    def traffic(self) -> Traffic:
        return self.load.traffic(expand(self.scenario))

    def __repr__(self) -> str:
        fields = self.scenario.model_dump(exclude_defaults=True)
        return f"Case(Scenario.model_validate({fields!r}), {self.load!r})"


@st.composite
def cases(draw: st.DrawFn, *, slots: bool | None = None) -> Case:
    """Any deployment of the tiny model with a load that it can or cannot bear."""
    block = draw(st.sampled_from([4, 16]))
    seqs = draw(st.sampled_from([2, 1, 5, 16, 64]))
    engine: dict[str, Any] = {
        "max_num_seqs": seqs,
        "max_num_batched_tokens": draw(st.sampled_from([64, 100, 512, 2048])),
        "kv_block_tokens": block,
        "max_model_len": draw(st.sampled_from([560, 900])),
        "adapter_loading": draw(st.sampled_from(["overlap", "blocking"])),
        "scheduler": {"chunked_prefill": draw(st.booleans())},
        "prefix_cache": {
            "enabled": draw(st.sampled_from([True, True, False])),
            "isolation": draw(st.sampled_from(["adapter", "tenant", "shared", "selective"])),
            "timing_noise_s": draw(st.sampled_from([0.0, 0.0, 0.0, 0.1])),
        },
    }
    adapters: dict[str, Any] = {
        "cold_start": draw(st.sampled_from(["wait", "wait", "base_model", "reject"])),
        "initial_tier": draw(st.sampled_from(["warm", "nvme", "store"])),
        "warm": {"capacity_gb": draw(st.sampled_from([1.0, 0.003, 0.0]))},
        "nvme": {"capacity_gb": draw(st.sampled_from([1.0, 0.002, 0.0]))},
        "store": {"latency_s": 0.02, "tls_s": 0.005},
        "hot": {"when_full": draw(st.sampled_from(["wait", "wait", "preempt"]))},
        "retry_after_s": 0.05,
    }
    if draw(st.integers(0, 2)) == 0:
        adapters["loading"] = {
            "failure_rate": draw(st.sampled_from([0.1, 0.5, 1.0])),
            "retries": draw(st.sampled_from([0, 1, 3])),
            "backoff_s": 0.01,
        }
    if draw(st.booleans()):
        adapters["prefetch"] = draw(
            st.fixed_dictionaries(
                {
                    "session_start": st.booleans(),
                    "login_lead_s": st.sampled_from([0.02, 0.2]),
                    "session_gap_s": st.sampled_from([0.05, 1.0]),
                    "cadence": st.sampled_from([None, {"keep_s": 0.0}, {"keep_s": 0.1}]),
                    "top_k": st.sampled_from([0, 3]),
                    "bulk": st.booleans(),
                    "regional": st.booleans(),
                    "rate_limit_per_s": st.sampled_from([None, 20.0, 500.0]),
                }
            )
        )
    for tier in ("warm", "nvme"):
        adapters[tier]["inclusive"] = draw(st.sampled_from([True, True, False]))
    for tier in ("hot", "warm", "nvme"):
        adapters.setdefault(tier, {})["eviction"] = draw(st.sampled_from(EVICTION_NAMES))
    if adapters["cold_start"] != "wait" and not adapters["warm"]["capacity_gb"]:
        adapters["warm"]["capacity_gb"] = 0.003
    limit = draw(st.sampled_from([None, 1, 2, 4]))
    if slots if slots is not None else draw(st.booleans()):
        limit = limit or 3
        engine["memory"] = {"mode": "slots", "max_loras": limit, "max_lora_rank": 16}
    elif limit and draw(st.booleans()):
        adapters["hot"]["adaptive"] = {
            "min_adapters": limit,
            "max_adapters": 2 * limit,
            "window_s": 0.2,
        }
    elif limit:
        adapters["hot"]["max_adapters"] = limit
    tenants = [
        {
            "name": "free",
            "count": draw(st.sampled_from([1, 3, 8, 20])),
            "adapters": draw(st.sampled_from([1, 2, 0])),
            "adapter": {"rank": draw(st.sampled_from([4, 16]))},
        }
    ]
    if (limit is None or limit > 1) and draw(st.booleans()):
        pro: dict[str, Any] = {
            "name": "pro",
            "tier": "gold",
            "adapter": {"rank": 8},
            "trust_class": "paying",
        }
        tenants.append(pro)
        adapters["hot"]["pinned_tiers"] = draw(st.sampled_from([[], ["gold"]]))
    gateway: dict[str, Any] = {
        "routing": draw(st.sampled_from(["least_loaded", "round_robin", "adapter_affinity"]))
    }
    gateway["fairness"] = {
        "policy": draw(st.sampled_from(["fcfs", "fcfs", "priority", "wfq", "drr", "vtc", "sjf"])),
        "by": draw(st.sampled_from(["tenant", "tier"])),
    }
    if draw(st.integers(0, 3)) == 0:
        gateway["kv_budgets"] = {"standard": 0.3, "free-0000": 0.1}
    engine["scheduler"]["victim"] = draw(st.sampled_from(["last", "last", "lowest_tier"]))
    fair, cached = gateway["fairness"]["policy"] != "fcfs", engine["prefix_cache"]["enabled"]
    engine["scheduler"] |= draw(batching(ordered=not fair, cached=cached, seqs=seqs))
    if draw(st.integers(0, 3)) == 0:
        over_limit = draw(st.sampled_from(["reject", "delay"]))
        gateway["rate_limits"] = {"standard": {"rps": 5.0, "burst": 2, "over_limit": over_limit}}
    fleet: dict[str, Any] = {"gpu": "mini", "replicas": draw(st.sampled_from([1, 1, 2, 3]))}
    if draw(st.integers(0, 3)) == 0:
        fleet["autoscale"] = {
            "min": draw(st.sampled_from([0, 1])),
            "target_requests": draw(st.sampled_from([1.0, 8.0])),
            "interval_s": draw(st.sampled_from([0.02, 0.1])),
            "down_after_s": draw(st.sampled_from([0.0, 0.05])),
            "startup_s": draw(st.sampled_from([0.0, 0.03])),
        }
    if draw(st.integers(0, 3)) == 0:
        gateway["timeouts_s"] = {"standard": draw(st.sampled_from([0.05, 0.3]))}
    if draw(st.integers(0, 3)) == 0:
        most = draw(st.sampled_from([0, 2, 10]))
        gateway["admission"] = {"max_queue": {"standard": most}, "retry_after_s": 0.03}
    gateway["on_replica_loss"] = draw(st.sampled_from(["retry", "retry", "fail"]))
    gateway["when_unavailable"] = draw(st.sampled_from(["wait", "wait", "reject"]))
    scenario = small_scenario(
        engine=engine,
        adapters=adapters,
        tenants=tenants,
        tiers={"gold": {"weight": 10.0}},
        gateway=gateway,
        fleet=[fleet],
        events=draw(events(fleet["replicas"])),
        workload={
            "rate_rps": 1.0,
            "clients": {"retries": draw(st.sampled_from([0, 2]))},
            "on_end": draw(st.sampled_from(["drain", "discard"])),
        },
    )
    scenario = short_of_memory(scenario, draw(st.sampled_from([0.2, 0.0, 1.0, 4.0, None])))
    load = Load(
        seed=draw(st.integers(0, 2**32 - 1)),
        requests=draw(st.integers(10, 120)),
        rate_rps=draw(st.sampled_from([5.0, 50.0, 300.0, 1000.0])),
        equal_instants=draw(st.booleans()),
        most_prompt_tokens=draw(st.sampled_from([400, 100, 10])),
        most_output_tokens=draw(st.sampled_from([200, 40, 2])),
        prefix_block_tokens=block * draw(st.sampled_from([1, 4])),
        hashed=draw(st.booleans()),
        tail_s=draw(st.sampled_from([0.05, 0.002])),
    )
    return Case(scenario, load)


@st.composite
def batching(draw: st.DrawFn, *, ordered: bool, cached: bool, seqs: int) -> dict[str, Any]:
    """Rules about who joins a batch; in half of the cases none."""
    rules: dict[str, Any] = {}
    if draw(st.booleans()):
        return rules
    kind = draw(st.sampled_from(["none", "grouping", "trust", "merged"]))
    max_wait_s = draw(st.sampled_from([0.03, 0.2]))
    if kind == "grouping" or draw(st.integers(0, 3)) == 0:
        most = draw(st.sampled_from([1, 2, 4]))
        wait_s = draw(st.sampled_from([0.03, 0.3]))
        rules["grouping"] = {"adapter_wait_s": wait_s, "min_requests": min(seqs, most)}
    if kind == "trust":
        by = draw(st.sampled_from(["tenant", "tier", "class"]))
        rules["trust"] = {"by": by, "max_wait_s": max_wait_s}
    elif kind == "merged":
        rules["merged"] = {
            "share": draw(st.sampled_from([0.51, 0.8])),
            "window_s": draw(st.sampled_from([0.02, 0.1])),
            "switch_s": draw(st.sampled_from([0.0, 0.004])),
            "max_wait_s": max_wait_s,
        }
    if ordered:
        orders = ["fcfs", "strict_fcfs", "priority"] + ["prefix_first"] * cached
        rules["order"] = draw(st.sampled_from(orders))
        rules["age_s"] = draw(st.sampled_from([0.02, 0.1]))
        if rules["order"] != "strict_fcfs":
            rules["pass_over_s"] = draw(st.sampled_from([None, 0.1, 0.4]))
    return rules


@st.composite
def events(draw: st.DrawFn, replicas: int) -> list[dict[str, Any]]:
    """What goes wrong: nothing in half of the cases, else up to five things, some at once."""
    if draw(st.booleans()):
        return []
    replica = st.integers(0, replicas - 1)
    when = {
        "at_s": st.sampled_from([0.0, 0.05, 0.1, 0.2, 0.5]),
        "duration_s": st.sampled_from([0.01, 0.1, 0.5]),
    }
    kinds: list[dict[str, Any]] = [
        {"crash": replica},
        {"region_outage": st.just("local")},
        {"slow_gpu": replica, "factor": st.sampled_from([1.0, 1.7, 20.0])},
        {"store_outage": st.just(True)},
        {"pool_leak": replica, "gb_per_s": st.sampled_from([0.001, 1.0])},
    ]
    some = st.one_of([st.fixed_dictionaries(kind | when) for kind in kinds])
    return draw(st.lists(some, min_size=1, max_size=5))


def short_of_memory(scenario: Scenario, spare: float | None) -> Scenario:
    """Leave the first pool's replicas memory for the largest adapter, the pinned ones, one request
    of the greatest length and `spare` more of them (None: plenty)."""
    if spare is None:
        return scenario
    deployment = expand(scenario)
    plan = plan_memory(deployment, 0)
    pinned_tiers = scenario.adapters.hot.pinned_tiers
    largest = pinned = 0
    for adapter in deployment.served_by(0):
        pages = plan.adapter_pages(adapter.parameters)
        largest = max(largest, pages)
        if deployment.tier_names[deployment.tenants[adapter.tenant].tier] in pinned_tiers:
            pinned += pages
    request = -(-plan.max_model_len // plan.block_tokens) * plan.block_pages
    return with_pool(scenario, pinned + largest + request + int(spare * request))
