"""The controls of a scenario: what is set otherwise than in the loaded scenario is a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from simlora.dashboard.trace_controls import trace_controls
from simlora.dashboard.trace_load import Replay, TraceLoad
from simlora.scenario.catalog import gpu_names
from simlora.scenario.schema import Scenario, TenantGroup, Zipf
from simlora.scenario.traffic import DEFAULT_DURATION_S

EVICTION = (
    "lru",
    "fifo",
    "lfu",
    "lru-2",
    "slru",
    "2q",
    "arc",
    "s3-fifo",
    "sieve",
    "w-tinylfu",
    "gdsf",
    "sla-aware",
    "belady",
)
ROUTING = (
    "least_loaded",
    "adapter_affinity",
    "round_robin",
    "power_of_two",
    "score",
    "latency_aware",
    "session_sticky",
)
FAIRNESS = ("fcfs", "priority", "wfq", "drr", "vtc", "sjf")
COLD_START = ("wait", "base_model", "reject")
_MOST_SHOWN = 8  # pools, groups or tiers
_NO_BOUND = 0


class Controls:
    """Draws controls and collects what they change, by dotted key."""

    def __init__(self, base: Scenario, generation: int) -> None:
        self.base = base
        self.changes: dict[str, Any] = {}
        self._generation = generation

    def whole(
        self, label: str, key: str, value: int, most: int, least: int = 1, **look: Any
    ) -> int:
        """A whole number."""
        chosen = int(
            st.number_input(
                label,
                min(least, value),
                max(most, value),
                value,
                key=self._key(key),
                **look,
            )
        )
        return int(self._take(key, value, chosen))

    def number(
        self, label: str, key: str, value: float, most: float, step: float, **look: Any
    ) -> float:
        """A number of at least one thousandth."""
        chosen = float(
            st.number_input(
                label,
                min(0.001, value),
                max(most, value),
                float(value),
                step,
                format="%.6g",
                key=self._key(key),
                **look,
            )
        )
        return float(self._take(key, value, chosen))

    def choice(self, label: str, key: str, value: str, options: Sequence[str], **look: Any) -> str:
        """One of several names."""
        known = list(options) if value in options else [value, *options]
        chosen = st.selectbox(label, known, known.index(value), key=self._key(key), **look)
        return str(self._take(key, value, chosen))

    def optional(self, label: str, key: str, value: int | None, most: int, **look: Any) -> None:
        """A whole number, or 0 for none."""
        given = value or _NO_BOUND
        chosen = int(st.number_input(label, 0, max(most, given), given, key=self._key(key), **look))
        if chosen != given:
            self.changes[key] = chosen or None

    def seconds(self, label: str, key: str, value: float | None, **look: Any) -> None:
        """A bound in seconds, or 0 for none."""
        given = value or 0.0
        chosen = st.number_input(
            label,
            0.0,
            max(3600.0, given),
            given,
            0.05,
            format="%.6g",
            key=self._key(key),
            **look,
        )
        if chosen != given:
            self.changes[key] = chosen or None

    def zipf(self, label: str, key: str, value: float, **look: Any) -> None:
        """The exponent of a Zipf law."""
        chosen = st.slider(
            label, 0.0, max(2.0, value), float(value), 0.05, key=self._key(key), **look
        )
        if chosen != value:
            self.changes[key] = {"zipf": chosen}

    def _take(self, key: str, value: Any, chosen: Any) -> Any:
        if chosen != value:
            self.changes[key] = chosen
        return chosen

    def _key(self, key: str) -> str:
        return f"{key}@{self._generation}"


def scenario_controls(controls: Controls, trace: TraceLoad | None) -> Replay | None:
    """All controls, in the order in which one thinks of them; those of the load are how the trace
    is replayed, where one is the load."""
    how = None
    with st.expander("Load", expanded=True):
        if trace is None:
            _load(controls)
        else:
            how = trace_controls(controls, trace)
        _seed(controls)
    with st.expander("Fleet", expanded=True):
        _fleet(controls)
    with st.expander("Adapters", expanded=True):
        _adapters(controls)
    with st.expander("Tenants"):
        _tenants(controls, trace)
    with st.expander("Tiers and fairness"):
        _tiers(controls)
    return how


def _load(controls: Controls) -> None:
    workload = controls.base.workload
    if workload.rate_rps is not None:
        controls.number(
            "Requests per second",
            "workload.rate_rps",
            workload.rate_rps,
            10_000.0,
            1.0,
            help="The load of all tenants together, requests/s on average.",
        )
        popularity = workload.popularity
        if isinstance(popularity, Zipf) or popularity == "uniform":
            controls.zipf(
                "Popularity (Zipf exponent)",
                "workload.popularity",
                popularity.zipf if isinstance(popularity, Zipf) else 0.0,
                help="0: all adapters are asked for alike. 1: the k-th gets 1/k of what the most "
                "popular one gets. Higher: a few get nearly everything.",
            )
    controls.number(
        "Duration (s)",
        "workload.duration_s",
        workload.duration_s or DEFAULT_DURATION_S,
        1e6,
        60.0,
        help="Simulated seconds during which requests arrive. Longer runs tell a p99 more surely.",
    )


def _seed(controls: Controls) -> None:
    controls.whole(
        "Seed",
        "seed",
        controls.base.seed,
        2**31,
        0,
        help="Of all random draws. Another seed is another day of the same traffic.",
    )


def _fleet(controls: Controls) -> None:
    gpus = gpu_names(controls.base.catalog)
    pools = controls.base.fleet[:_MOST_SHOWN]
    for index, pool in enumerate(pools):
        of = f" of pool {pool.name or index}" if len(pools) > 1 else ""
        controls.choice(
            f"GPU{of}",
            f"fleet.{index}.gpu",
            pool.gpu,
            gpus,
            help="Figures and prices come from the catalog, each with its source.",
        )
        controls.whole(
            f"Replicas{of}",
            f"fleet.{index}.replicas",
            pool.replicas,
            200,
            help="Identical copies of the base model, each on GPUs of its own.",
        )
        controls.whole(
            f"GPUs per replica{of}",
            f"fleet.{index}.tensor_parallel",
            pool.tensor_parallel,
            16,
            help="Tensor parallelism: one replica's model is split over so many GPUs.",
        )


def _adapters(controls: Controls) -> None:
    scenario = controls.base
    slots = scenario.engine.memory.mode == "slots"
    controls.optional(
        "Hot adapters per replica",
        "engine.memory.max_loras" if slots else "adapters.hot.max_adapters",
        scenario.engine.memory.max_loras if slots else scenario.adapters.hot.max_adapters,
        100_000,
        help="How many adapters GPU memory keeps. 0: as many as fit beside the KV cache.",
    )
    controls.choice(
        "Eviction in GPU memory",
        "adapters.hot.eviction",
        scenario.adapters.hot.eviction,
        EVICTION,
        help="Which adapter goes when another needs its place. belady knows the traffic ahead: it "
        "is the bound to compare with.",
    )
    controls.number(
        "Host memory for adapters (GB)",
        "adapters.warm.capacity_gb",
        scenario.adapters.warm.capacity_gb,
        100_000.0,
        4.0,
        help="Adapters in host memory are milliseconds away from the GPU; others come from disk.",
    )
    controls.choice(
        "Cold start",
        "adapters.cold_start",
        scenario.adapters.cold_start,
        COLD_START,
        help="A request whose adapter is neither in GPU nor in host memory waits, is answered by "
        "the base model, or is rejected.",
    )


def _tenants(controls: Controls, trace: TraceLoad | None) -> None:
    groups = controls.base.tenants
    for index, group in enumerate(groups[:_MOST_SHOWN]):
        _tenant_group(controls, index, group, trace)
    if len(groups) > _MOST_SHOWN:
        st.caption(f"{len(groups) - _MOST_SHOWN} more groups are as in the scenario.")


def _tenant_group(
    controls: Controls, index: int, group: TenantGroup, trace: TraceLoad | None
) -> None:
    has = f"Each has {group.adapters} adapter(s) of rank {group.adapter.rank}; tier {group.tier}."
    if trace is not None:
        has = "The tenants of the trace are divided among the groups in proportion to this."
    controls.whole(
        f"Tenants in {group.name}",
        f"tenants.{index}.count",
        group.count,
        20_000,
        help=has,
    )
    if group.rate_rps_each is not None and trace is None:
        controls.number(
            f"Requests/s of each in {group.name}",
            f"tenants.{index}.rate_rps_each",
            group.rate_rps_each,
            10_000.0,
            0.1,
            help="On average, of each tenant of the group.",
        )
    if controls.base.tiers:
        controls.choice(
            f"Tier of {group.name}",
            f"tenants.{index}.tier",
            group.tier,
            list(controls.base.tiers),
            help="Its promises and its weight apply.",
        )


def _tiers(controls: Controls) -> None:
    scenario = controls.base
    for name, tier in list(scenario.tiers.items())[:_MOST_SHOWN]:
        controls.seconds(
            f"TTFT p99 for {name} (s)",
            f"tiers.{name}.sla.ttft_p99_s",
            tier.sla.ttft_p99_s,
            help="99 % of its requests should have their first token within so many seconds. "
            "0: no promise.",
        )
        controls.number(
            f"Weight of {name}",
            f"tiers.{name}.weight",
            tier.weight,
            1000.0,
            1.0,
            help="Its share of the service under wfq, drr and vtc, and its rank under priority.",
        )
    controls.choice(
        "Fairness",
        "gateway.fairness.policy",
        scenario.gateway.fairness.policy,
        FAIRNESS,
        help="Whose waiting request is next. fcfs: first come, first served. wfq, drr, vtc: by "
        "weight of service. priority: by weight of the tier. sjf: the shortest first.",
    )
    controls.choice(
        "Routing",
        "gateway.routing",
        scenario.gateway.routing,
        ROUTING,
        help="Which replica a request goes to.",
    )
