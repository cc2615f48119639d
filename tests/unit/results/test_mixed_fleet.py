"""What a run's summary and figures tell of a fleet of several models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simlora.report.gauges import fleet_gauges, pool_gb
from simlora.scenario.deployment import expand
from tests.placing import Entries, mixed_scenario
from tests.unit.results.recorded import busy_run, completed, facts, record

FLEET: Entries = [{"name": "main"}, {"model": {"name": "wide", "weights": "fp8"}, "region": "eu"}]
GROUPS: Entries = [{"name": "a"}, {"name": "b", "model": "wide"}]


def test_every_pool_tells_its_name_model_and_region(tmp_path: Path) -> None:
    of = expand(mixed_scenario(FLEET, GROUPS))
    pool = facts(10.0).fleet[0]
    pools = (pool, replace(pool, usd_per_gpu_hour=2.0))
    summary = record(of, tmp_path, [completed(of, 0, 0.0)], 10.0, fleet=pools).summary
    told = [
        tuple(pool[key] for key in ("name", "model", "weights", "region", "usd_per_gpu_hour"))
        for pool in summary["simulation"]["fleet"]
    ]
    assert told == [
        ("main", "tiny-llama", "bf16", "local", 4.0),
        ("1", "wide", "fp8", "eu", 2.0),
    ]


def test_pages_of_different_sizes_have_no_common_size(tmp_path: Path) -> None:
    of = expand(mixed_scenario(FLEET, GROUPS))
    pools = facts(10.0).fleet * 2
    small = facts(10.0).memory[0]
    large = replace(small, page_bytes=2 * small.page_bytes)
    for memory, page_bytes in (((small, small), small.page_bytes), ((small, large), None)):
        run = tmp_path / str(page_bytes)
        given = record(of, run, [completed(of, 0, 0.0)], 10.0, fleet=pools, memory=memory)
        assert given.summary["memory"]["page_bytes"] == page_bytes


def test_memory_over_time_counts_each_replicas_own_pages(tmp_path: Path) -> None:
    result = busy_run(tmp_path, 400)
    _, pages, _ = fleet_gauges(result)
    page_bytes = result.summary["memory"]["page_bytes"]
    alike = pool_gb(result)
    assert alike["kv_pages"] == pytest.approx(pages["kv_pages"] * page_bytes / 1e9)
    result.summary["memory"]["replicas"][1]["page_bytes"] *= 3
    second = result.timeline[result.timeline["replica"] == 1]
    more = np.array(second["kv_pages"]) * 2 * page_bytes / 1e9
    assert pool_gb(result)["kv_pages"] == pytest.approx(alike["kv_pages"] + more)
