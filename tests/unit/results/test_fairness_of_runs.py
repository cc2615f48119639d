"""Fairness, service, goodput and longest waits of recorded runs, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment
from simlora.serving.request import FAILED, REJECTED, WAITING, Request
from tests.unit.results.recorded import completed, deployment, ended, facts, record


def waiting(
    of: Deployment, index: int, tenant: int, queue_s: float, adapter_wait_s: float
) -> Request:
    request = ended(of, index, 0.0, tenant, WAITING)
    request.queue_s, request.adapter_wait_s = queue_s, adapter_wait_s
    return request


def test_service_is_the_share_of_the_weighted_tokens_asked_for(tmp_path: Path) -> None:
    of = deployment()
    long = completed(of, 0, 0.0, 0, prompt_tokens=10, output_tokens=45)  # 10 + 2 * 45
    refused = ended(of, 1, 0.0, 0, REJECTED)  # 100 + 2 * 11
    cut = ended(of, 2, 0.0, 1, WAITING)
    cut.first_token_s, cut.emitted_tokens = 1.0, 4  # its prompt and 4 of 11 tokens
    result = record(of, tmp_path, [long, refused, cut, ended(of, 3, 0.0, 7, REJECTED)], 10.0)
    assert list(result.tenants["service_tokens"][[0, 1, 2, 7]]) == [100, 108, 0, 0]
    a, b = 100 / 222, 108 / 122
    fairness = result.summary["fairness"]
    assert fairness["tenants"] == 3  # 22 others asked for nothing
    assert fairness["service_jain"] == pytest.approx((a + b) ** 2 / (3 * (a * a + b * b)))
    platinum, free = fairness["tiers"]["platinum"], fairness["tiers"]["free"]
    assert platinum["service_jain"] == pytest.approx((a + b) ** 2 / (2 * (a * a + b * b)))
    assert (free["tenants"], free["service_jain"]) == (1, None)  # nothing served to anybody


def test_latency_is_each_tenants_mean_of_the_time_per_output_token(tmp_path: Path) -> None:
    of = deployment()
    requests = [
        completed(of, 0, 0.0, 0, prefill_s=0.0, decode_s=1.0, output_tokens=10),  # 0.1
        completed(of, 1, 0.0, 0, prefill_s=0.0, decode_s=9.0, output_tokens=30),  # 0.3
        completed(of, 2, 0.0, 1, prefill_s=0.0, decode_s=4.0, output_tokens=10),  # 0.4
        completed(of, 3, 0.0, 9, prefill_s=0.0, decode_s=8.0, output_tokens=10),
        ended(of, 4, 0.0, 8, FAILED),  # has none
    ]
    fairness = record(of, tmp_path, requests, 10.0).summary["fairness"]
    assert fairness["tiers"]["platinum"]["latency_jain"] == pytest.approx(0.6**2 / (2 * 0.2))
    assert fairness["tiers"]["free"]["latency_jain"] == pytest.approx(1.0)
    assert fairness["latency_jain"] == pytest.approx(1.4**2 / (3 * (0.04 + 0.16 + 0.64)))


def test_the_longest_wait_counts_whatever_became_of_the_request(tmp_path: Path) -> None:
    of = deployment()
    failed = ended(of, 3, 0.0, 8, FAILED)
    failed.adapter_wait_s = 40.0
    requests = [
        completed(of, 0, 0.0, 0, queue_s=1.0, adapter_wait_s=2.5),
        completed(of, 1, 0.0, 0, queue_s=3.0),
        waiting(of, 2, 3, 20.0, 5.0),
        failed,
    ]
    result = record(of, tmp_path, requests, 50.0)
    waits_s = result.tenants["longest_wait_s"]
    assert list(waits_s[[0, 3, 8]]) == [3.5, 25.0, 40.0]
    assert waits_s.drop([0, 3, 8]).isna().all()
    fairness = result.summary["fairness"]
    for part, longest in (
        (fairness, (40.0, "free-0003")),
        (fairness["tiers"]["free"], (40.0, "free-0003")),
        (fairness["tiers"]["platinum"], (25.0, "pro-0003")),
    ):
        assert (part["longest_wait_s"], part["longest_wait_tenant"]) == longest


def test_the_warmup_counts_for_service_and_not_for_waits(tmp_path: Path) -> None:
    of = deployment()
    early = completed(of, 0, 1.0, 0, queue_s=50.0)
    late = completed(of, 1, 20.0, 1)
    fairness = record(of, tmp_path, [early, late], 60.0, warmup_s=10.0).summary["fairness"]
    assert (fairness["longest_wait_s"], fairness["longest_wait_tenant"]) == (0.0, None)
    assert (fairness["tenants"], fairness["service_jain"]) == (2, 1)


def test_where_nobody_asked_there_is_no_fairness(tmp_path: Path) -> None:
    fairness = record(deployment(), tmp_path, [], 10.0).summary["fairness"]
    for part in (fairness, *fairness["tiers"].values()):
        assert part["tenants"] == 0
        for key in ("service_jain", "latency_jain", "longest_wait_s", "longest_wait_tenant"):
            assert part[key] is None


def test_flushing_in_parts_changes_no_tenants_figures(tmp_path: Path) -> None:
    of = deployment()
    requests = [completed(of, i, 0.0, i % 7, queue_s=(i * 37 % 50) / 8) for i in range(100)]
    recorder = Recorder(of, tmp_path / "parts", warmup_s=0.0)
    for request in requests:
        recorder.pending.append(request)
        recorder.flush()
    in_parts = recorder.close(facts(60.0)).tenants
    at_once = record(of, tmp_path / "whole", requests, 60.0).tenants
    columns = ["service_tokens", "longest_wait_s", "goodput_rps"]
    assert in_parts[columns].equals(at_once[columns])


def test_goodput_of_tenants_adds_up_to_their_tiers(tmp_path: Path) -> None:
    of = deployment()
    requests = [
        *(completed(of, i, 20.0, 0, queue_s=0.1) for i in range(6)),
        completed(of, 6, 20.0, 0, queue_s=3.0),  # later than the half second promised
        completed(of, 7, 20.0, 9, queue_s=3.0),  # nothing is promised
        completed(of, 8, 1.0, 0),  # in the warm-up
    ]
    result = record(of, tmp_path, requests, 60.0, warmup_s=10.0)
    assert result.tenants["goodput_rps"][0] == pytest.approx(6 / 50)
    assert result.tenants["goodput_rps"][9] == pytest.approx(1 / 50)
    by_tier = result.tenants.groupby("tier", observed=True)["goodput_rps"].sum()
    for name, tier in result.summary["tiers"].items():
        assert by_tier[name] == pytest.approx(tier["goodput_rps"])
