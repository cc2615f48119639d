"""Tiers: promises kept, a noisy neighbour switched on and off, and who hurts whom."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from simlora.dashboard import jobs, state
from simlora.dashboard.limits import MOST_REPLICATIONS, check_size
from simlora.errors import UserError
from simlora.planning.noisy_neighbour import (
    BUCKET_BURST,
    BUCKET_RPS,
    PROTECTIONS,
    calm,
    independent,
    noisy,
)
from simlora.scenario.schema import BurstArrivals, Scenario

KIND = "tiers"


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
    if independent(state.scenario()) is not state.scenario():
        st.caption(
            "The scenario's own pattern of arrivals is left out on this page, so that the burst "
            "alone makes the difference: requests arrive as a Poisson process of the same rate."
        )
    problem, runs = None, _runs(asked)
    try:
        check_size(_loud(asked) or state.scenario(), runs)
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


def _loud(asked: Asked) -> Scenario | None:
    """The scenario with the burst, where one is asked for. Raises UserError."""
    if not asked.noisy:
        return None
    return noisy(state.scenario(), asked.tenant, asked.requests, asked.protection)


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
        list(PROTECTIONS),
        key="protection",
        bind="query-params",
        help="Weighted fair queueing serves waiting tenants by weight. Token buckets delay what a "
        f"tenant asks beyond {BUCKET_RPS:g} request/s (burst {BUCKET_BURST}).",
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
    jobs.begin(
        KIND,
        "Simulating",
        "tiers",
        calm(scenario, asked.protection),
        _loud(asked),
        asked.tenant,
        asked.replications,
        of=(scenario, asked),
        files=state.files(),
    )
