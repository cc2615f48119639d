"""Fair disciplines give every flow its share, whatever the others ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.serving.fairness import QueueDiscipline
from simlora.serving.request import Request
from tests.property.fairness_server import (
    INPUT_WEIGHT,
    OUTPUT_WEIGHT,
    Server,
    Source,
    flow_table,
    make,
)

TOLERANCE = 0.03  # of a share
LENGTHS = st.integers(4, 60)
LOADS = st.builds(
    lambda sizes: {tenant: Source(tenant, *size) for tenant, size in enumerate(sizes)},
    st.lists(st.tuples(LENGTHS, LENGTHS), min_size=2, max_size=4),
)


@dataclass
class Gap:
    """The greatest difference of the service of two tenants over any interval."""

    server: Server
    first: int
    second: int
    least: float = 0.0
    most: float = 0.0

    def __post_init__(self) -> None:
        self._start = self._difference()

    def _difference(self) -> float:
        return self.server.service[self.first] - self.server.service[self.second]

    def look(self) -> None:
        difference = self._difference() - self._start
        self.least, self.most = min(self.least, difference), max(self.most, difference)

    @property
    def width(self) -> float:
        return self.most - self.least


def look_at(gaps: list[Gap]) -> Callable[[], None]:
    def look() -> None:
        for gap in gaps:
            gap.look()

    return look


def bound(server: Server) -> float:
    """U of the VTC paper: max(w_p x longest prompt, w_q x tokens of the batch)."""
    longest = max(source.most_prompt_tokens for source in server.sources.values())
    return max(INPUT_WEIGHT * longest, OUTPUT_WEIGHT * server.capacity_tokens)


# --- VTC ---------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(loads=LOADS, seed=st.integers(0, 999), capacity=st.integers(120, 500))
def test_vtc_keeps_backlogged_clients_within_twice_the_papers_u_over_every_interval(
    loads: dict[int, Source], seed: int, capacity: int
) -> None:
    server = Server(make("vtc", flow_table([1.0] * len(loads))), loads, capacity, seed)
    gaps = [Gap(server, f, g) for f in loads for g in loads if f < g]
    server.watch = look_at(gaps)
    server.run(40 * bound(server))
    assert max(gap.width for gap in gaps) <= 2 * bound(server)


@settings(max_examples=60)
@given(loads=LOADS, seed=st.integers(0, 999), busy_for=st.sampled_from([5, 50]))
def test_vtc_gives_a_client_no_credit_for_having_been_idle(
    loads: dict[int, Source], seed: int, busy_for: int
) -> None:
    late = loads.pop(0)
    server = Server(make("vtc", flow_table([1.0] * (len(loads) + 1))), loads, 150, seed)
    server.run(busy_for * bound(server))
    loads[0] = late
    gaps = [Gap(server, 0, other) for other in loads if other]
    server.watch = look_at(gaps)
    server.run(20 * bound(server))
    assert max(gap.width for gap in gaps) <= 2 * bound(server)


@settings(max_examples=60)
@given(loads=LOADS, seed=st.integers(0, 999), period=st.integers(1, 5))
def test_vtc_keeps_its_bound_while_another_client_comes_and_goes(
    loads: dict[int, Source], seed: int, period: int
) -> None:
    guest = len(loads)
    server = Server(make("vtc", flow_table([1.0] * (guest + 1))), dict(loads), 150, seed)
    gap = Gap(server, 0, 1)
    server.watch = gap.look
    for visit in range(8):
        if visit % 2:
            server.sources[guest] = Source(guest, 60, 60)
        else:
            server.sources.pop(guest, None)
        server.run(period * bound(server))
    assert gap.width <= 2 * max(INPUT_WEIGHT * 60, OUTPUT_WEIGHT * server.capacity_tokens)


# --- shares by weight --------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["vtc", "wfq", "drr"])
@pytest.mark.parametrize("preempts", [0.0, 0.3])
@settings(max_examples=12)
@given(
    weights=st.sampled_from([(1.0, 1.0), (1.0, 3.0), (10.0, 3.0, 1.0), (1.0, 2.0, 4.0, 8.0)]),
    sizes=st.lists(st.tuples(LENGTHS, LENGTHS), min_size=4, max_size=4),
    seed=st.integers(0, 999),
)
def test_shares_under_saturation_match_the_weights(
    policy: str,
    preempts: float,
    weights: tuple[float, ...],
    sizes: list[tuple[int, int]],
    seed: int,
) -> None:
    sources = {tenant: Source(tenant, *sizes[tenant]) for tenant in range(len(weights))}
    queue = make(policy, flow_table(weights), quantum_tokens=100)
    server = Server(queue, sources, 400, seed, preempts=preempts)
    server.run(25_000 * sum(weights) / min(weights))
    for tenant, weight in enumerate(weights):
        assert server.share([tenant]) == pytest.approx(weight / sum(weights), rel=TOLERANCE)


@pytest.mark.parametrize("policy", ["vtc", "wfq", "drr"])
def test_one_flow_a_tier_gives_the_tiers_their_weights_however_many_tenants_they_have(
    policy: str,
) -> None:
    """Tenant 0 alone in its tier, 1 to 5 in the other: by tier half each, by tenant a sixth."""
    shares = {}
    for by, flows in (("tier", (0, 1, 1, 1, 1, 1)), ("tenant", (0, 1, 2, 3, 4, 5))):
        count = max(flows) + 1
        table = replace(flow_table([1.0] * count), flow_of_tenant=flows)
        sources = {tenant: Source(tenant, 30, 30) for tenant in range(6)}
        server = Server(make(policy, table, quantum_tokens=100), sources, 400)
        server.run(150_000)
        shares[by] = server.share([0])
    assert shares["tier"] == pytest.approx(1 / 2, rel=TOLERANCE)
    assert shares["tenant"] == pytest.approx(1 / 6, rel=TOLERANCE)


# --- reserved shares ---------------------------------------------------------------------------

RESERVED = (0.5, 0.35, 0.15)
TENANTS_EACH = 3


def reserved_server(policy: str, sizes: list[tuple[int, int]], seed: int) -> Server:
    """Three tiers of three tenants each; weights that would give other shares."""
    table = replace(flow_table([1.0, 1.0, 9.0], TENANTS_EACH), shares=RESERVED)
    sources = {tenant: Source(tenant, *sizes[tenant]) for tenant in range(len(sizes))}
    return Server(make(policy, table), sources, 500, seed)


def tenants_of(tier: int) -> range:
    return range(TENANTS_EACH * tier, TENANTS_EACH * (tier + 1))


SIZES = st.lists(st.tuples(LENGTHS, LENGTHS), min_size=9, max_size=9)


@pytest.mark.parametrize("policy", ["vtc", "wfq"])
@settings(max_examples=8)
@given(sizes=SIZES, seed=st.integers(0, 999))
def test_reserved_shares_hold_under_saturation_and_tenants_divide_their_tiers(
    policy: str, sizes: list[tuple[int, int]], seed: int
) -> None:
    server = reserved_server(policy, sizes, seed)
    server.run(200_000)
    for tier, share in enumerate(RESERVED):
        assert server.share(tenants_of(tier)) == pytest.approx(share, rel=TOLERANCE)
        for tenant in tenants_of(tier):
            assert server.share([tenant]) == pytest.approx(share / TENANTS_EACH, rel=2 * TOLERANCE)


@pytest.mark.parametrize("policy", ["vtc", "wfq"])
@settings(max_examples=8)
@given(sizes=SIZES, seed=st.integers(0, 999), absent=st.integers(0, 2))
def test_what_an_idle_tier_leaves_goes_to_the_others_and_it_has_its_share_at_once_when_back(
    policy: str, sizes: list[tuple[int, int]], seed: int, absent: int
) -> None:
    server = reserved_server(policy, sizes, seed)
    away = {tenant: server.sources.pop(tenant) for tenant in tenants_of(absent)}
    server.run(200_000)
    others = [tier for tier in range(3) if tier != absent]
    total = sum(RESERVED[tier] for tier in others)
    for tier in others:
        expected = RESERVED[tier] / total
        assert server.share(tenants_of(tier)) == pytest.approx(expected, rel=TOLERANCE)
    server.sources.update(away)
    since = dict(server.service)
    server.run(200_000)
    for tier, share in enumerate(RESERVED):
        assert server.share(tenants_of(tier), since) == pytest.approx(share, rel=TOLERANCE)


# --- DRR ---------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    weights=st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=2, max_size=5),
    arrivals=st.lists(
        st.tuples(st.integers(0, 4), st.integers(10, 20), st.integers(1, 12), st.integers(0, 12)),
        max_size=30,
    ),
)
def test_drr_visits_no_flow_twice_while_another_waits(
    weights: list[float], arrivals: list[tuple[int, int, int, int]]
) -> None:
    """A visit takes at most the quantum and what was left of the one before, less than a prompt; of
    who has enough waiting two take more."""
    quantum, longest = 100, 20
    queue = make("drr", flow_table(weights), quantum_tokens=quantum)
    had: dict[int, Counter[int]] = {}  # by waiting flow: what the others have had meanwhile
    waiting: Counter[int] = Counter()

    def pop() -> None:
        request = queue.pop(0.0)
        flow = request.tenant
        waiting[flow] -= 1
        had.pop(flow)
        if waiting[flow]:
            had[flow] = Counter()
        for others in had.values():
            others[flow] += request.prompt_tokens

    index = 0
    for tenant, prompt, count, pops in arrivals:
        flow = tenant % len(weights)
        for _ in range(count):
            queue.push(Request(index, 0.0, flow, flow, -1, prompt, 1), 0.0)
            index += 1
        waiting[flow] += count
        had.setdefault(flow, Counter())
        for _ in range(min(pops, len(queue))):
            pop()
            check_visits(had, weights, quantum, longest)
    while len(queue):
        pop()
        check_visits(had, weights, quantum, longest)


def check_visits(
    had: dict[int, Counter[int]], weights: list[float], quantum: int, longest: int
) -> None:
    for flow, others in had.items():
        for other, tokens in others.items():
            if other != flow:
                assert tokens < quantum * weights[other] / min(weights) + longest


def test_drr_passes_a_flow_over_until_its_quanta_have_paid_for_its_output() -> None:
    """A quantum pays for one prompt; 3 quanta of output are 3 rounds of waiting."""
    queue = make("drr", flow_table([1.0, 1.0]), quantum_tokens=100)
    for index in range(20):
        queue.push(Request(index, 0.0, index % 2, index % 2, -1, 100, 1), 0.0)
    first = [queue.pop(0.0).tenant for _ in range(2)]
    queue.on_output(0, 150)
    assert first + tenants(queue, 8) == [0, 1, 1, 1, 1, 0, 1, 0, 1, 0]


def tenants(queue: QueueDiscipline, count: int) -> list[int]:
    return [queue.pop(0.0).tenant for _ in range(count)]
