"""From finished requests to the files of a result directory."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from simlora.results import tiers
from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment
from simlora.serving.request import FAILED, REJECTED, RUNNING, WAITING, Request
from tests.unit.results.recorded import busy_run, completed, deployment, ended, facts, record


def mixed(of: Deployment, count: int = 200) -> list[Request]:
    statuses = (REJECTED, FAILED, WAITING, RUNNING)
    return [
        ended(of, i, i / 4, i % 25, statuses[i % 4])
        if i % 10 == 0
        else completed(of, i, i / 4, i % 25, queue_s=i / 1000)
        for i in range(count)
    ]


def test_every_request_is_accounted_for(tmp_path: Path) -> None:
    of = deployment()
    result = record(of, tmp_path, mixed(of), 60.0)
    requests = result.summary["requests"]
    assert requests == {
        "offered": 200,
        "completed": 180,
        "rejected": 10,
        "failed": 0,
        "unfinished": 10,
        "reasons": {"rejected": {"rate limit": 10}, "failed": {}},
    }
    assert len(result.requests) == result.tenants["offered"].sum() == 200
    per_tier = [tier["requests"]["offered"] for tier in result.summary["tiers"].values()]
    assert sum(per_tier) == 200
    for status in ("completed", "rejected", "failed", "unfinished"):
        assert result.tenants[status].sum() == requests[status]


def test_a_row_takes_the_latency_apart(tmp_path: Path) -> None:
    of = deployment()
    request = completed(of, 0, 5.0, 7, queue_s=0.2, adapter_wait_s=0.1, decode_s=1.5)
    request.session = 2**60 + 1
    row = record(of, tmp_path, [request], 10.0).requests.iloc[0]
    phases = row[["queue_s", "adapter_wait_s", "prefill_s", "decode_s", "preempted_s"]].sum()
    assert phases == pytest.approx(row["e2e_s"], abs=1e-12)
    assert row["ttft_s"] == pytest.approx(0.34)
    assert row["tpot_s"] == pytest.approx(0.15)
    assert (row["tenant"], row["adapter"], row["tier"]) == ("free-0002", "free-0002", "free")
    assert (row["status"], row["adapter_source"]) == ("completed", "hot")
    table = pq.read_table(tmp_path / "requests.parquet")
    assert table["session"][0].as_py() == 2**60 + 1
    assert table["reason"][0].as_py() is None


def test_what_never_came_is_null(tmp_path: Path) -> None:
    of = deployment()
    one_token = completed(of, 0, 0.0, output_tokens=1, decode_s=0.0)
    base = completed(of, 1, 0.0)
    base.adapter = -1
    waiting = ended(of, 2, 0.0, 0, WAITING)
    rejected = ended(of, 3, 0.0, 0, REJECTED)
    record(of, tmp_path, [one_token, base, waiting, rejected], 10.0)
    rows = pq.read_table(tmp_path / "requests.parquet").to_pylist()
    assert rows[0]["tpot_s"] is None
    assert rows[0]["ttft_s"] is not None
    assert rows[1]["adapter"] is None
    for name in ("ttft_s", "tpot_s", "e2e_s", "finish_s", "replica", "session"):
        assert rows[2][name] is None
    assert (rows[3]["status"], rows[3]["reason"]) == ("rejected", "rate limit")


def test_latencies_are_those_of_completed_requests_after_the_warmup(tmp_path: Path) -> None:
    of = deployment()
    early = [completed(of, i, 1.0, queue_s=100.0) for i in range(10)]
    late = [completed(of, 10 + i, 20.0 + i, queue_s=i / 10) for i in range(11)]
    cut = [ended(of, 21, 30.0, 0, WAITING)]
    summary = record(of, tmp_path, early + late + cut, 110.0, warmup_s=10.0).summary
    assert summary["requests"]["offered"] == 22
    assert summary["latency"]["queue_s"]["mean"] == pytest.approx(0.5)
    assert summary["latency"]["queue_s"]["p90"] == pytest.approx(0.9)
    assert summary["throughput"]["requests_per_s"] == pytest.approx(11 / 100)
    assert summary["throughput"]["output_tokens_per_s"] == pytest.approx(121 / 100)
    assert summary["tiers"]["free"]["ttft_s"]["p99"] is None


def test_promises_are_judged(tmp_path: Path) -> None:
    of = deployment()
    within = [completed(of, i, 0.0, 0, queue_s=0.1) for i in range(6)]
    late = [completed(of, 6, 0.0, 0, queue_s=3.0)]
    lost = [ended(of, 7, 0.0, 0, REJECTED)]
    overdue = [ended(of, 8, 0.0, 0, WAITING)]  # ten seconds without a first token
    fresh = [ended(of, 9, 9.9, 0, WAITING)]
    result = record(of, tmp_path, within + late + lost + overdue + fresh, 10.0)
    tier = result.summary["tiers"]["platinum"]
    assert tier["sla_attainment"] == pytest.approx(6 / 9)
    assert tier["goodput_rps"] == pytest.approx(0.6)
    assert tier["sla"]["ttft_p99_s"]["met"] is False
    assert tier["sla"]["availability"] == {"promised": 0.99, "measured": 7 / 9, "met": False}
    assert (tier["weight"], tier["price_usd_month"]) == (10.0, 0.0)
    assert result.summary["tiers"]["free"]["sla_attainment"] is None
    assert result.tenants["sla_attainment"][0] == pytest.approx(6 / 9)


def test_requests_that_never_got_an_answer_break_the_percentile(tmp_path: Path) -> None:
    of = deployment()
    within = [completed(of, i, 0.0, 0, queue_s=0.1) for i in range(97)]
    overdue = [ended(of, 97 + i, 0.0, 0, WAITING) for i in range(3)]
    ttft = record(of, tmp_path, within + overdue, 10.0).summary["tiers"]["platinum"]["sla"]
    assert ttft["ttft_p99_s"] == {"promised": 0.5, "measured": None, "met": False}
    none = record(of, tmp_path / "none", overdue, 10.0).summary["tiers"]["platinum"]["sla"]
    assert none["ttft_p99_s"]["met"] is False
    assert none["availability"] == {"promised": 0.99, "measured": 0.0, "met": False}


def test_a_tier_whose_requests_mostly_did_not_complete_meets_nothing(tmp_path: Path) -> None:
    of = deployment()
    answered = [completed(of, i, 9.0 - i, 0) for i in range(5)]
    young = [ended(of, 5 + i, 9.9, 0, WAITING) for i in range(20)]
    result = record(of, tmp_path, answered + young, 10.0)
    tier = result.summary["tiers"]["platinum"]
    assert tier["sla"]["ttft_p99_s"]["measured"] == pytest.approx(0.04)
    assert tier["sla"]["ttft_p99_s"]["met"] is None
    assert tier["sla"]["availability"] == {"promised": 0.99, "measured": None, "met": None}
    assert tier["sla_attainment"] is None
    assert result.tenants["sla_attainment"].isna().all()


def test_without_a_bound_on_time_the_slowest_completed_one_says_what_is_late(
    tmp_path: Path,
) -> None:
    of = deployment(tiers={"platinum": {"sla": {"availability": 0.99}}, "free": {}})
    answered = [completed(of, i, 0.0, 0, queue_s=i / 10) for i in range(10)]  # 1.94 s at most
    late = [ended(of, 10, 8.0, 0, WAITING)]
    young = [ended(of, 11, 8.1, 0, WAITING)]
    tier = record(of, tmp_path, answered + late + young, 10.0).summary["tiers"]["platinum"]
    assert tier["sla"]["availability"]["measured"] == pytest.approx(10 / 11)
    assert tier["sla_attainment"] == pytest.approx(10 / 11)


def test_the_tenants_bills_add_up_to_the_fleets(tmp_path: Path) -> None:
    of = deployment()
    result = record(of, tmp_path, mixed(of), 3600.0)
    bill = result.summary["cost"]["fleet_usd"]
    assert bill == pytest.approx(8.0)
    assert math.fsum(result.tenants["cost_usd"]) == pytest.approx(bill, abs=1e-9)


@pytest.mark.parametrize("method", ["tokens", "compute_units"])
def test_the_bill_is_divided_by_the_measure_that_the_scenario_asks_for(
    tmp_path: Path, method: str
) -> None:
    asked = {"attribution": {"method": method, "input_weight": 3.0, "output_weight": 1.0}}
    of = deployment(cost=asked)
    table = record(of, tmp_path, mixed(of), 3600.0).tenants
    used = {
        "tokens": table["prompt_tokens"] + table["output_tokens"],
        "compute_units": 3 * table["input_tflop"] + table["output_tflop"],
    }[method]
    assert np.allclose(table["cost_usd"], 8.0 * used / used.sum())


def test_an_idle_fleet_is_split_evenly_and_has_no_figures(tmp_path: Path) -> None:
    of = deployment()
    result = record(of, tmp_path, [], 3600.0)
    assert result.tenants["cost_usd"].nunique() == 1
    assert result.summary["latency"]["ttft_s"]["p99"] is None
    assert result.summary["requests"]["offered"] == 0
    assert "NaN" not in (tmp_path / "summary.json").read_text()


def test_equal_runs_write_equal_bytes_however_they_are_flushed(tmp_path: Path) -> None:
    busy_run(tmp_path / "a", 300)
    busy_run(tmp_path / "b", 300)
    for name in ("requests.parquet", "tenants.parquet", "timeline.parquet", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()

    of = deployment()
    recorder = Recorder(of, tmp_path / "c", warmup_s=0.0)
    for request in mixed(of):
        recorder.pending.append(request)
        if len(recorder.pending) == 7:
            recorder.flush()
    in_parts = recorder.close(facts(60.0))
    at_once = record(of, tmp_path / "d", mixed(of), 60.0)
    assert in_parts.requests.astype(str).equals(at_once.requests.astype(str))
    assert in_parts.summary["requests"] == at_once.summary["requests"]
    assert (
        in_parts.summary["latency"]["ttft_s"]["p99"] == at_once.summary["latency"]["ttft_s"]["p99"]
    )


def test_many_names_are_written_by_row_group(tmp_path: Path) -> None:
    of = deployment(pro=5000, free=1)
    tenants = [4999, 17, 4999, 0]
    result = record(of, tmp_path, [completed(of, i, 0.0, t) for i, t in enumerate(tenants)], 9.0)
    assert list(result.requests["tenant"]) == [of.tenants[t].name for t in tenants]


def test_folded_statistics_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = deployment()
    exact = record(of, tmp_path / "a", mixed(of), 60.0).summary
    monkeypatch.setattr(tiers, "EXACT_VALUES", 50)
    folded = record(of, tmp_path / "b", mixed(of), 60.0).summary
    assert exact["simulation"]["statistics"] == "exact"
    assert folded["simulation"]["statistics"] == "quantiles within 0.1%"
    assert folded["latency"]["ttft_s"]["mean"] == pytest.approx(exact["latency"]["ttft_s"]["mean"])
    assert folded["latency"]["ttft_s"]["p99"] == pytest.approx(
        exact["latency"]["ttft_s"]["p99"], rel=0.02
    )


def test_the_summary_on_disk_is_the_results(tmp_path: Path) -> None:
    result = busy_run(tmp_path, 200)
    assert json.loads((tmp_path / "summary.json").read_text()) == result.summary
    memory = result.summary["memory"]
    assert memory["pool_pages"] == 2 * memory["replicas"][0]["pool_pages"]
    assert memory["page_bytes"] == memory["replicas"][0]["page_bytes"]
