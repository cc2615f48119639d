"""Generated platforms on which things go wrong: crashes, outages, leaks, time limits, pools that
grow and shrink, several regions and models, and rollouts, all at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.routing import ROUTING
from tests.property.cases import Case, cases, short_of_memory
from tests.simulating import ROOMY_GIB

CATALOG = {
    "gpus": {
        "mini": {"base": "a10g", "memory_gib": ROOMY_GIB},
        "roomy": {"base": "a10g", "memory_gib": ROOMY_GIB},
    },
    "models": {"wide": {"base": "tiny-llama", "num_key_value_heads": 4}},
}


@st.composite
def disturbed_cases(draw: st.DrawFn) -> Case:
    """A case with a fleet, a gateway and a script of their own. Its first pool may be short of
    memory, its second never is."""
    case = draw(cases())
    kind = draw(st.sampled_from(["one pool", "regions", "models", "regions"]))
    changes: dict[str, Any] = {
        "catalog": CATALOG,
        "fleet": draw(fleets(kind)),
        "tenants": draw(tenants(kind, case.scenario)),
        "gateway": case.scenario.gateway.model_dump() | draw(gateways()),
        "events": [],
        "workload.clients.retries": draw(st.sampled_from([0, 2])),
    }
    scenario = case.scenario.with_overrides(changes)
    scenario = short_of_memory(scenario, draw(st.sampled_from([0.2, 0.0, 1.0, None, None])))
    span_s = case.load.requests / case.load.rate_rps
    scenario = scenario.with_overrides({"events": draw(scripts(scenario, span_s))})
    return replace(case, scenario=scenario)


@st.composite
def fleets(draw: st.DrawFn, kind: str) -> list[dict[str, Any]]:
    fleet = [{"gpu": "mini", "replicas": draw(st.sampled_from([2, 1, 3]))}]
    if kind != "one pool":
        fleet.append({"gpu": "roomy", "replicas": draw(st.sampled_from([1, 2]))})
    if kind == "regions":
        fleet[1]["region"] = "far"
    elif kind == "models":
        fleet[1]["model"] = "wide"
    for pool in fleet:
        if draw(st.booleans()):
            pool["autoscale"] = draw(
                st.fixed_dictionaries(
                    {
                        "min": st.sampled_from([0, 0, 1]),
                        "initial": st.sampled_from([None, pool["replicas"]]),
                        "target_requests": st.sampled_from([1.0, 8.0]),
                        "interval_s": st.sampled_from([0.01, 0.1]),
                        "down_after_s": st.sampled_from([0.0, 0.05]),
                        "startup_s": st.sampled_from([0.0, 0.03, 0.2]),
                    }
                )
            )
    return fleet


@st.composite
def tenants(draw: st.DrawFn, kind: str, scenario: Scenario) -> list[dict[str, Any]]:
    groups = [group.model_dump() for group in scenario.tenants]
    if kind == "regions":
        for group in groups:
            group["regions"] = draw(
                st.sampled_from([["far", "local"], [], ["local", "far"], ["local"], ["far"]])
            )
    elif kind == "models":
        groups.append({"name": "wide", "count": 3, "model": "wide", "adapter": {"rank": 8}})
    if groups[0]["adapters"] and draw(st.booleans()):
        rollout = draw(rollouts())
        if kind == "models" and draw(st.booleans()):
            rollout["candidate"]["model"] = "wide"
        groups[0]["rollout"] = rollout
    return groups


@st.composite
def rollouts(draw: st.DrawFn) -> dict[str, Any]:
    mode = draw(st.sampled_from(["canary", "shadow", "ab", "shadow", "switch"]))
    factor = draw(st.sampled_from([1.0, 1.5]))
    rollout: dict[str, Any] = {
        "mode": mode,
        "start_s": draw(st.sampled_from([0.0, 0.05])),
        "candidate": {"adapter": {"rank": 8}, "output_factor": factor},
    }
    if mode == "switch":
        return rollout | {"every_s": 0.02}
    rollout |= {"share": 0.5, "end_s": draw(st.sampled_from([None, 0.3]))}
    if draw(st.booleans()):
        rollout["rollback"] = {"ttft_ratio": 1.0, "percentile": 50, "min_requests": 3}
    return rollout


@st.composite
def gateways(draw: st.DrawFn) -> dict[str, Any]:
    gateway: dict[str, Any] = {
        "routing": draw(st.sampled_from(ROUTING.names())),
        "on_replica_loss": draw(st.sampled_from(["retry", "retry", "fail"])),
        "when_unavailable": draw(st.sampled_from(["wait", "wait", "reject"])),
        "cross_region_s": draw(st.sampled_from([0.0, 0.02])),
    }
    gateway["timeouts_s"] = draw(
        st.sampled_from([{}, {"standard": 0.05}, {"standard": 0.3, "gold": 0.02}])
    )
    most = draw(st.sampled_from([None, 0, 2, 10]))
    gateway["admission"] = {
        "max_queue": {} if most is None else {"standard": most},
        "retry_after_s": 0.03,
    }
    return gateway


@st.composite
def scripts(draw: st.DrawFn, scenario: Scenario, span_s: float) -> list[dict[str, Any]]:
    """What happens, while requests come within `span_s` or soon after; some of it at once."""
    replicas = sum(pool.replicas for pool in scenario.fleet)
    regions = sorted({pool.region for pool in scenario.fleet})
    replica = st.integers(0, replicas - 1)
    when = {
        "at_s": st.sampled_from([0.0, 0.01, 0.05, 0.2] + [part * span_s for part in (0.3, 0.6, 1)]),
        "duration_s": st.sampled_from([0.01, 0.1, 0.5]),
    }
    kinds: list[dict[str, Any]] = [
        {"crash": replica},
        {"crash": replica},
        {"region_outage": st.sampled_from(regions)},
        *[{"slow_gpu": replica, "factor": st.sampled_from([1.7, 1.0, 20.0])}] * 3,
        {"store_outage": st.just(True)},
        {"pool_leak": replica, "gb_per_s": st.sampled_from([0.001, 0.1, 100.0])},
    ]
    names = [adapter.name for adapter in expand(scenario).adapters]
    if names:
        kinds += [{"corrupt_adapter": st.sampled_from(names[:3] + names[-3:])}] * 2
    some = st.one_of([st.fixed_dictionaries(kind | when) for kind in kinds])
    return draw(st.lists(some, min_size=2, max_size=10))
