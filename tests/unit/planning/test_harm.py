"""Who hurt whom: with and without one tenant's requests, everything else alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simlora.errors import UserError
from simlora.planning.harm import Harm, harm, without
from simlora.planning.paired import paired_difference
from simlora.planning.seeds import MOST_SEED
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from simlora.workload.blocks import BLOCK_ROWS, RequestBlock
from simlora.workload.traffic import open_traffic
from tests.simulating import Ask, arrays_traffic, run, small_scenario, traffic_of

COLUMNS = ("arrival_s", "tenant", "adapter", "prompt_tokens", "output_tokens", "session")
SILENT = "idle-0000"


def bursting(**workload: object) -> Scenario:
    """Twenty tenants in two tiers, of which `gold-0000` floods a batch of four for a while, and one
    without requests."""
    burst = {"tenant": "gold-0000", "start_s": 20, "duration_s": 5, "requests": 300}
    return small_scenario(
        tenants=[
            {"name": "gold", "count": 5, "tier": "gold", "rate_rps_each": 0.2},
            {"name": "free", "count": 15, "tier": "free", "rate_rps_each": 0.2},
            {"name": "idle", "tier": "free", "rate_rps_each": 1e-12},
        ],
        engine={"max_num_seqs": 4, "max_model_len": 1024},
        workload={
            "duration_s": 60,
            "prompt_tokens": {"fixed": 200},
            "output_tokens": {"fixed": 100},
            "arrivals": {"bursts": [burst]},
            **workload,
        },
    )


@pytest.fixture(scope="module")
def hurt() -> Harm:
    return harm(bursting(), "gold-0000", 3)


def column(blocks: Sequence[RequestBlock], name: str) -> np.ndarray:
    return np.concatenate([getattr(block, name) for block in blocks])


def test_without_a_tenant_nothing_of_it_is_left_and_the_others_arrive_as_before() -> None:
    scenario = bursting(arrivals="sessions", duration_s=2000)
    traffic = open_traffic(expand(scenario))
    whole, rest = list(traffic.blocks()), list(without(traffic, 3).blocks())
    others = column(whole, "tenant") != 3
    assert 0 < others.sum() < len(others)
    assert (column(rest, "tenant") != 3).all()
    for name in (*COLUMNS, "priority"):
        assert np.array_equal(column(rest, name), column(whole, name)[others]), name
    hashes = [ids for block in whole for ids in block.prefix_hashes or ()]
    kept = [ids for ids, other in zip(hashes, others, strict=True) if other]
    assert [ids for block in rest for ids in block.prefix_hashes or ()] == kept
    assert any(kept)


def test_filtered_traffic_opens_any_number_of_times_and_has_no_empty_block() -> None:
    tenant = np.repeat([1, 0, 1], BLOCK_ROWS)
    ones = np.ones(len(tenant))
    traffic = without(arrays_traffic(np.arange(len(tenant)), tenant, -ones, ones, ones), 0)
    for _ in range(2):
        assert [len(block) for block in traffic.blocks()] == [BLOCK_ROWS, BLOCK_ROWS]
    assert list(without(traffic, 1).blocks()) == []


def test_a_burst_raises_the_others_p99(hurt: Harm) -> None:
    (everyone,) = hurt.of("all").to_dict("records")
    assert everyone["ratio"] > 5
    assert 0 < everyone["low_s"] < everyone["change_s"] < everyone["high_s"]
    assert list(hurt.of("tier")["name"]) == ["gold", "free"]
    assert (hurt.of("tier")["change_s"] > 1).all()
    affected = hurt.most_affected(5)
    assert len(affected) == 5
    assert affected["change_s"].is_monotonic_decreasing
    assert affected["change_s"][0] == hurt.of("tenant")["change_s"].max()


def test_the_tenant_itself_counts_in_no_row(hurt: Harm) -> None:
    tenants = hurt.of("tenant")
    assert "gold-0000" not in set(tenants["name"])
    counts = hurt.table.groupby("scope")["requests"].sum()
    assert counts["all"] == counts["tier"] == counts["tenant"]
    drawn = sum(
        len(block)
        for seed in hurt.seeds
        for block in open_traffic(expand(bursting().with_overrides({"seed": seed}))).blocks()
    )
    assert counts["all"] + hurt.requests == drawn
    assert hurt.requests > 900


def test_the_figures_are_those_of_the_runs() -> None:
    scenario = bursting().with_overrides({"run.warmup_s": 5, "seed": 4})
    found = harm(scenario, "gold-0000")
    assert found.seeds == (4,)
    rows = simulate(scenario).requests
    rows = rows[(rows["arrival_s"] >= 5) & (rows["tenant"] != "gold-0000")]
    (everyone,) = found.of("all").to_dict("records")
    assert everyone["requests"] == len(rows)
    assert everyone["ttft_p99_with_s"] == np.quantile(rows["ttft_s"], 0.99)
    assert np.isnan(everyone["low_s"])
    by = {"tier": rows.groupby("tier", observed=True), "tenant": rows.groupby("tenant")}
    for scope, groups in by.items():
        figures = found.of(scope).set_index("name")
        for name, values in groups["ttft_s"]:
            if len(values):
                expected = pytest.approx(np.quantile(values, 0.99), rel=1e-12)
                assert figures.loc[str(name), "ttft_p99_with_s"] == expected
                assert figures.loc[str(name), "requests"] == len(values)


def test_the_runs_without_it_are_those_of_the_other_requests_alone() -> None:
    scenario = bursting()
    deployment = expand(scenario)
    rows = list(open_traffic(deployment).blocks())
    others = np.flatnonzero(column(rows, "tenant") != 0)
    values = [column(rows, name)[others].tolist() for name in COLUMNS]
    asks = [
        Ask(at, adapter, prompt, output, tenant)
        for at, tenant, adapter, prompt, output, _ in zip(*values, strict=True)
    ]
    traffic = traffic_of(deployment, asks, 60.0)
    alone = [r.first_token_s - r.arrival_s for r in run(scenario, traffic).requests]
    (everyone,) = harm(scenario, "gold-0000").of("all").to_dict("records")
    assert everyone["ttft_p99_without_s"] == pytest.approx(np.quantile(alone, 0.99), rel=1e-12)


def test_a_silent_tenant_changes_nothing_at_all() -> None:
    found = harm(bursting(), SILENT, 2)
    assert found.requests == 0
    shown = pd.concat([found.of("all"), found.of("tier"), found.of("tenant")])
    shown = shown[shown["ttft_p99_with_s"].notna()]
    assert len(shown) > 15
    assert (shown["ratio"] == 1).all()
    assert (shown["change_s"] == 0).all()
    assert (shown["completed_with"] == shown["completed_without"]).all()
    assert (found.of("all")[["low_s", "high_s"]] == 0).all(axis=None)
    assert found.most_affected(10).empty


def test_the_interval_is_that_of_the_paired_runs(hurt: Harm) -> None:
    pairs = [
        harm(bursting().with_overrides({"seed": seed}), "gold-0000").of("all").iloc[0]
        for seed in hurt.seeds
    ]
    with_s = [float(pair["ttft_p99_with_s"]) for pair in pairs]
    without_s = [float(pair["ttft_p99_without_s"]) for pair in pairs]
    difference = paired_difference(without_s, with_s)
    everyone = hurt.of("all").iloc[0]
    assert everyone["change_s"] == pytest.approx(difference.mean)
    assert (everyone["low_s"], everyone["high_s"]) == (difference.low, difference.high)
    assert everyone["ratio"] == pytest.approx(sum(with_s) / sum(without_s))


def test_requests_that_the_tenant_kept_from_completing_are_told() -> None:
    found = harm(bursting(on_end="discard", duration_s=26), "gold-0000")
    (everyone,) = found.of("all").to_dict("records")
    assert everyone["completed_with"] < everyone["completed_without"] <= 1


def test_the_number_of_processes_changes_nothing(hurt: Harm) -> None:
    told: list[int] = []
    again = harm(bursting(), "gold-0000", 3, jobs=2, progress=told.append)
    pd.testing.assert_frame_equal(again.table, hurt.table, check_exact=True)
    assert told == list(range(1, 7))


def test_a_tenant_of_a_group_of_one_goes_by_its_groups_name() -> None:
    assert harm(bursting(duration_s=21), "idle").tenant == SILENT


def test_what_cannot_be_told_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'^tenant: no tenant "gold-000", did you mean gold-000\d'):
        harm(bursting(), "gold-000")
    with pytest.raises(UserError, match=r"has gold-0000, gold-0001, gold-0002 … \(21 in all\)"):
        harm(bursting(), "?")
    alone = small_scenario(tenants=[{"name": "one"}], workload={"rate_rps": 1.0, "duration_s": 9})
    with pytest.raises(UserError, match="only one-0000 has requests"):
        harm(alone, "one")
    with pytest.raises(UserError, match="no room for 2 replications"):
        harm(bursting().with_overrides({"seed": MOST_SEED}), "idle", 2)
    lost = small_scenario(workload={"trace": str(tmp_path / "none.parquet")})
    with pytest.raises(UserError, match=r"none\.parquet"):
        harm(lost, "tenant-0000", 2)
