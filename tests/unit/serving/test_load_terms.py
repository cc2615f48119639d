"""A load is the sum of its named terms: each counted once, each left out at will."""

from __future__ import annotations

from math import fsum
from typing import Any

import pytest

from simlora.serving.loading import TERMS
from tests.simulating import Ask, phases_s, run
from tests.unit.serving.adapter_stories import (
    COPY_S,
    DOWNLOAD_S,
    GBPS,
    NBYTES,
    NVME_S,
    PCIE_S,
    READ_S,
    STEP_S,
    WARM_S,
    facts,
    recorded,
    scenario,
)

STORE: dict[str, Any] = {
    "latency_s": 2.0,
    "tls_s": 1.0,
    "cross_region_s": 4.0,
    "bandwidth_gbps": 0.5e6 * GBPS,
    "decompression_gbps": 1e6 * GBPS,
    "deserialization_gbps": 0.25e6 * GBPS,
}
FROM_STORE = {
    "request": 2.0,
    "tls": 1.0,
    "cross_region": 4.0,
    "download": NBYTES / 0.5e6,
    "decompression": NBYTES / 1e6,
    "deserialization": NBYTES / 0.25e6,
    "registration": WARM_S,
    "pcie": PCIE_S,
}
FROM_DISK = {
    "disk_access": NVME_S,
    "disk_read": NBYTES / 1e6,
    "deserialization": NBYTES / 0.125e6,
    "registration": WARM_S,
    "pcie": PCIE_S,
}
DISK = {"deserialization_gbps": 0.125e6 * GBPS}


@pytest.mark.parametrize(
    ("initial", "terms"), [("store", FROM_STORE), ("nvme", FROM_DISK), ("warm", {})]
)
def test_a_lone_load_takes_the_sum_of_its_terms(initial: str, terms: dict[str, float]) -> None:
    terms = terms or {"registration": WARM_S, "pcie": PCIE_S}
    of = scenario(store=STORE, nvme=DISK, initial_tier=initial)
    finished = run(of, [Ask(0.0, 0)])
    told = facts(of, finished).load_terms_s
    assert told == pytest.approx(terms, abs=1e-9)
    assert list(told) == [term for term in TERMS if term in terms]
    (request,) = finished.requests
    assert request.adapter_wait_s == pytest.approx(fsum(told.values()), abs=1e-9)
    assert phases_s(request) == pytest.approx(request.finish_s)


@pytest.mark.parametrize(
    ("initial", "tier", "field", "none", "term"),
    [
        ("store", "store", "latency_s", 0, "request"),
        ("store", "store", "tls_s", 0, "tls"),
        ("store", "store", "cross_region_s", 0, "cross_region"),
        ("store", "store", "decompression_gbps", None, "decompression"),
        ("store", "store", "deserialization_gbps", None, "deserialization"),
        ("store", "warm", "registration_s", 0, "registration"),
        ("nvme", "nvme", "latency_s", 0, "disk_access"),
        ("nvme", "nvme", "deserialization_gbps", None, "deserialization"),
    ],
)
def test_a_term_that_is_set_to_nothing_is_gone_and_the_others_stay(
    initial: str, tier: str, field: str, none: Any, term: str
) -> None:
    tiers: dict[str, Any] = {"store": STORE, "nvme": DISK, "warm": {}}
    tiers[tier] = tiers[tier] | {field: none}
    of = scenario(initial_tier=initial, **tiers)
    finished = run(of, [Ask(0.0, 0)])
    left = dict(FROM_STORE if initial == "store" else FROM_DISK)
    del left[term]
    assert facts(of, finished).load_terms_s == pytest.approx(left, abs=1e-9)
    assert finished.requests[0].adapter_wait_s == pytest.approx(fsum(left.values()), abs=1e-9)


def test_loads_at_once_share_the_links_and_nothing_else() -> None:
    """Three at once take three times as long to download, but wait for the handshake, unpack and
    register side by side."""
    of = scenario(store=STORE, initial_tier="store")
    finished = run(of, [Ask(0.0, adapter) for adapter in range(3)])
    shared = {"download", "pcie"}
    expected = {t: 3 * s * (3 if t in shared else 1) for t, s in FROM_STORE.items()}
    assert facts(of, finished).load_terms_s == pytest.approx(expected, abs=1e-6)
    wait_s = fsum(FROM_STORE.values()) + 2 * (FROM_STORE["download"] + PCIE_S)
    assert [request.adapter_wait_s for request in finished.requests] == pytest.approx(
        [wait_s] * 3, abs=1e-9
    )


def test_a_load_shares_a_link_only_while_the_other_is_on_it() -> None:
    """The second begins when half of the first is there; each has a quarter shared time more."""
    alone_s = NBYTES / 0.5e6
    of = scenario(store={"latency_s": 0}, initial_tier="store")
    finished = run(of, [Ask(0.0, 0), Ask(alone_s / 2, 1)])
    waits = [request.adapter_wait_s - COPY_S for request in finished.requests]
    assert waits == pytest.approx([1.5 * alone_s, 1.5 * alone_s], abs=1e-6)
    assert facts(of, finished).load_terms_s["download"] == pytest.approx(3 * alone_s, abs=1e-6)


def test_loads_over_different_links_do_not_meet() -> None:
    of = scenario(nvme={"capacity_gb": NBYTES / 1e9}, initial_tier="nvme")
    on_disk, in_store = run(of, [Ask(0.0, 0), Ask(0.0, 1)]).requests
    assert on_disk.adapter_wait_s == pytest.approx(READ_S + COPY_S)
    assert in_store.adapter_wait_s == pytest.approx(DOWNLOAD_S + COPY_S)


def test_a_blocking_engine_books_what_it_reads_and_what_it_copies() -> None:
    of = scenario({"adapter_loading": "blocking"}, nvme=DISK, initial_tier="nvme")
    finished = run(of, [Ask(0.0, 0)])
    assert facts(of, finished).load_terms_s == pytest.approx(FROM_DISK, abs=1e-9)
    (request,) = finished.requests
    assert request.adapter_wait_s == pytest.approx(fsum(FROM_DISK.values()), abs=1e-9)
    assert request.finish_s == pytest.approx(fsum(FROM_DISK.values()) + STEP_S)


def test_a_blocking_engine_downloads_beside_its_steps() -> None:
    of = scenario({"adapter_loading": "blocking"}, store=STORE, initial_tier="store")
    finished = run(of, [Ask(0.0, -1, 10, 300), Ask(0.0, 0)])
    assert facts(of, finished).load_terms_s == pytest.approx(FROM_STORE, abs=1e-9)
    assert finished.requests[0].finish_s == pytest.approx(300 * STEP_S + COPY_S)


def test_the_summary_has_the_terms_that_there_were(tmp_path: Any) -> None:
    of = scenario(initial_tier="store")
    summary = recorded(of, [Ask(0.0, 0), Ask(50.0, 0)], tmp_path).summary
    assert summary["adapters"]["load_terms_s"] == pytest.approx(
        {"request": 2.0, "download": NBYTES / 0.5e6, "registration": WARM_S, "pcie": PCIE_S}
    )
