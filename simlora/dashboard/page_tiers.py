"""Tiers: promises kept, a noisy neighbour switched on and off, and who hurts whom."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.limits import MOST_REPLICATIONS, check_size, expected_requests
from simlora.errors import UserError
from simlora.scenario.schema import BurstArrivals, Scenario
from simlora.scenario.traffic import DEFAULT_DURATION_S

KIND = "tiers"
PROTECTION = {
    "as in the scenario": {},
    "weighted fair queueing": {"gateway.fairness.policy": "wfq"},
    "token buckets": {},
    "both": {"gateway.fairness.policy": "wfq"},
}
_BUCKETS = ("token buckets", "both")
_BUCKET_RPS, _BUCKET_BURST = 1.0, 5


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page's controls say."""

    tenant: str
    noisy: bool
    requests: int
    protection: str
    replications: int


def show() -> None:
    """Draw the page."""
    st.title("Tiers")
    st.caption(
        "Who gets what was promised, what one tenant's burst does to the others, and what "
        "protects them."
    )
    asked = _controls()
    if _independent(state.scenario()) is not state.scenario():
        st.caption(
            "The scenario's own pattern of arrivals is left out on this page, so that the burst "
            "alone makes the difference: requests arrive as a Poisson process of the same rate."
        )
    problem, runs = None, _runs(asked)
    try:
        check_size(noisy(state.scenario(), asked) if asked.noisy else state.scenario(), runs)
    except UserError as error:
        problem = str(error)
        st.warning(problem)
    if st.button(
        "Simulate",
        type="primary",
        icon=":material/play_arrow:",
        disabled=problem is not None,
    ):
        _simulate(asked)
    found = jobs.shown(
        KIND,
        (state.scenario(), asked),
        "Simulate",
        "Nothing simulated yet: choose a tenant and press Simulate.",
    )
    if found is None:
        return
    from simlora.dashboard.tier_charts import draw

    draw(found)


def protected(scenario: Scenario, asked: Asked) -> Scenario:
    """The scenario with what protects tenants from each other. Raises UserError."""
    changes = dict(PROTECTION[asked.protection])
    if asked.protection in _BUCKETS:
        tiers = dict.fromkeys([*scenario.tiers, *(group.tier for group in scenario.tenants)])
        bucket = {"rps": _BUCKET_RPS, "burst": _BUCKET_BURST, "over_limit": "delay"}
        return scenario.with_overrides(
            {**changes, "gateway.rate_limits": dict.fromkeys(tiers, bucket)}
        )
    return scenario.with_overrides(changes) if changes else scenario


def calm(scenario: Scenario, asked: Asked) -> Scenario:
    """The scenario without bursts, on independent arrivals. Raises UserError."""
    return protected(_independent(scenario), asked)


def noisy(scenario: Scenario, asked: Asked) -> Scenario:
    """The same, with the burst of one tenant in the middle. Raises UserError."""
    workload = scenario.workload
    duration_s = workload.duration_s or DEFAULT_DURATION_S
    if workload.max_requests is not None:
        rate_rps = max(expected_requests(scenario), 1.0) / duration_s
        duration_s = min(duration_s, workload.max_requests / rate_rps)
    burst = {
        "tenant": asked.tenant,
        "start_s": round(0.4 * duration_s, 3),
        "duration_s": round(max(0.1 * duration_s, 0.001), 3),
        "requests": asked.requests,
    }
    scenario = _independent(scenario)
    return protected(scenario.with_overrides({"workload.arrivals": {"bursts": [burst]}}), asked)


def _independent(scenario: Scenario) -> Scenario:
    """Bursts lie on Poisson arrivals, so that both cases have those; a trace has its own."""
    if scenario.workload.trace is not None:
        return scenario
    if isinstance(scenario.workload.arrivals, str) and scenario.workload.arrivals == "poisson":
        return scenario
    return scenario.with_overrides({"workload.arrivals": "poisson"})


def _runs(asked: Asked) -> int:
    return 2 * asked.replications + (2 if asked.noisy else 1)


def _controls() -> Asked:
    scenario = state.scenario()
    names = [
        f"{group.name}-{number:04d}"
        for group in scenario.tenants
        for number in range(min(group.count, 40))
    ]
    own, replayed = scenario.workload.arrivals, state.replayed()
    loud = own.bursts[0].tenant if isinstance(own, BurstArrivals) else None
    if replayed:
        loud = state.names()[0]  # the busiest
    one, two, *rest = st.columns(2 if replayed else 4, gap="medium")
    tenant = one.selectbox(
        "Tenant",
        names,
        index=names.index(loud) if loud in names else len(names) - 1,
        key=state.keyed("noisy_tenant", loud),
        bind="query-params",
        help="Whose requests are looked at: what the others' latency would be without them. Of a "
        "group the first 40 can be chosen.",
    )
    protection = two.selectbox(
        "Protection",
        list(PROTECTION),
        key="protection",
        bind="query-params",
        help="Weighted fair queueing serves waiting tenants by weight. Token buckets delay what a "
        f"tenant asks beyond {_BUCKET_RPS:g} request/s (burst {_BUCKET_BURST}).",
    )
    if replayed:
        st.caption(
            "A trace has the bursts that it has, and is the same in every replication: the page "
            "compares one run with it and one without the tenant's requests."
        )
        return Asked(str(tenant), False, 0, str(protection), 1)
    requests = rest[0].number_input(
        "Requests in the burst",
        1,
        50_000,
        400,
        50,
        key="burst_requests",
        bind="query-params",
        help="On top of the tenant's own, within a tenth of the run.",
    )
    replications = rest[1].number_input(
        "Replications",
        1,
        MOST_REPLICATIONS,
        2,
        key="harm_replications",
        bind="query-params",
        help="Pairs of runs with and without the tenant's requests; more make the interval of "
        "the difference narrower.",
    )
    on = st.toggle(
        "Noisy neighbour",
        True,
        key="noisy",
        bind="query-params",
        help="On: the tenant sends the burst, and the run without it is shown beside.",
    )
    return Asked(str(tenant), bool(on), int(requests), str(protection), int(replications))


def _simulate(asked: Asked) -> None:
    scenario = state.scenario()
    loud = noisy(scenario, asked) if asked.noisy else None
    jobs.begin(
        KIND,
        "Simulating",
        "tiers",
        calm(scenario, asked),
        loud,
        asked.tenant,
        asked.replications,
        of=(scenario, asked),
        files=state.files(),
    )
