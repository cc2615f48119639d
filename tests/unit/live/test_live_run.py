"""Real requests on a real engine: what they are told, and what the run leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.live.records import STEP, TRANSFER, Row, read_rows
from simlora.live.replay import decisions_of
from simlora.results import files
from simlora.results.decision_file import first_difference
from simlora.results.decisions import Line
from simlora.scenario.deployment import expand
from simlora.serving.request import STATUS_NAMES
from tests.simulating import Ask, run, traffic_of
from tests.unit.live.living import CONFIG, Lived, alone, crowd, live, live_scenario

ADAPTERS = 5


def replayed(lived: Lived, rows: list[Row] | None = None) -> list[Line]:
    rows = read_rows(lived.result.directory / files.STEPS) if rows is None else rows
    traffic = traffic_of(expand(lived.scenario), lived.asks)
    return list(decisions_of(lived.scenario, rows, traffic))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """40 requests at once for far too little memory."""
    folder = tmp_path_factory.mktemp("crowded")
    scenario = live_scenario(
        folder,
        adapters=ADAPTERS,
        memory={"kv_cache_tokens": 256},
        scheduler={"admission": "first_chunk"},
    )
    return live(scenario, crowd(40, ADAPTERS), folder / "out")


def test_every_request_is_told_what_it_would_be_told_alone(crowded: Lived, tmp_path: Path) -> None:
    """Whatever batches, pages, shared prefixes and preemptions there were."""
    assert set(crowded.statuses) == {"completed"}
    assert crowded.answers == alone(crowded.scenario, crowded.asks, tmp_path)
    assert [len(crowded.answers[n]) for n in range(40)] == [a.output_tokens for a in crowded.asks]


def test_the_crowded_run_had_all_that_makes_it_hard(crowded: Lived) -> None:
    summary = crowded.summary
    assert summary["batch"]["preemptions"] == len(crowded.decided("preempted")) > 0
    assert summary["adapters"]["evictions"] == len(crowded.decided("adapter_evicted")) > 0
    assert summary["adapters"]["loads"] == len(crowded.decided("load_started")) > ADAPTERS
    assert summary["prefix_cache"]["hit_tokens"] > 0
    assert crowded.decided("prefix_evicted")
    assert any(line["decodes"] and line["chunks"] for line in crowded.decided("step"))


def test_a_replay_in_virtual_time_decides_the_same_line_by_line(crowded: Lived) -> None:
    assert replayed(crowded) == crowded.decisions


def test_a_replay_with_a_load_that_never_ends_parts_from_the_record(crowded: Lived) -> None:
    rows = read_rows(crowded.result.directory / files.STEPS)
    lost = next(row for row in rows if row.kind == TRANSFER)
    again = replayed(crowded, [row for row in rows if row is not lost])
    number, _, _ = first_difference(again, crowded.decisions) or (0, None, None)
    assert 0 < number <= len(crowded.decisions)


def test_each_step_and_each_transfer_has_its_measured_time(crowded: Lived) -> None:
    rows = read_rows(crowded.result.directory / files.STEPS)
    steps = [row for row in rows if row.kind == STEP]
    assert len(steps) == crowded.summary["batch"]["steps"] == len(crowded.decided("step"))
    assert all(row.end_s > row.start_s for row in steps)
    assert sum(row.end_s - row.start_s for row in steps) == pytest.approx(
        crowded.summary["batch"]["busy_s"]
    )
    loads = [row for row in rows if row.kind == TRANSFER and row.link == 2]
    assert len(loads) == crowded.summary["adapters"]["loads"]
    assert all(row.end_s > row.start_s for row in loads)
    ends = [row.end_s for row in rows]
    assert len(set(ends)) == len(ends)


KINDS: dict[str, dict[str, Any]] = {
    "blocking loads into slots": {
        "adapter_loading": "blocking",
        "memory": {
            "mode": "slots",
            "max_loras": 2,
            "max_lora_rank": 8,
            "kv_cache_tokens": 256,
        },
    },
    "prompts in steps of their own": {
        "scheduler": {"batching": "separate", "chunked_prefill": False},
    },
    "prefixes shared with nobody": {"prefix_cache": {"enabled": False}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_engines_say_the_same_too(kind: str, tmp_path: Path) -> None:
    scenario = live_scenario(tmp_path, adapters=4, **KINDS[kind])
    lived = live(scenario, crowd(16, 4, seed=1), tmp_path / "out")
    assert lived.answers == alone(scenario, lived.asks, tmp_path)
    assert replayed(lived) == lived.decisions
    rows = read_rows(lived.result.directory / files.STEPS)
    blocking = sum(row.load_s > 0 for row in rows if row.kind == STEP)
    beside = sum(row.link == 2 for row in rows if row.kind == TRANSFER)
    loads = lived.summary["adapters"]["loads"]
    if kind.startswith("blocking"):
        assert 0 < blocking <= loads
        assert beside == 0
    else:
        assert blocking == 0
        assert beside == loads > 0


def test_adapters_come_down_to_an_exclusive_host_memory_and_go_up_again(tmp_path: Path) -> None:
    scenario = live_scenario(tmp_path, adapters=4).with_overrides(
        {
            "adapters.hot.max_adapters": 1,
            "adapters.warm.inclusive": False,
            "adapters.initial_tier": "warm",
        }
    )
    asks = [
        Ask(0.6 * turn + 0.01 * adapter, adapter, 8, 3) for turn in range(2) for adapter in range(4)
    ]
    lived = live(scenario, asks, tmp_path / "out")
    assert lived.answers == alone(scenario, asks, tmp_path)
    assert lived.summary["adapters"]["loads"] >= 7, "one after the other, twice"
    assert lived.summary["adapters"]["hits_by_tier"]["nvme"] == 0, "all were found in host memory"


def test_what_host_memory_and_disk_evict_is_fetched_from_the_store_again(tmp_path: Path) -> None:
    adapter_bytes = expand(live_scenario(tmp_path)).adapters[0].nbytes
    scenario = live_scenario(tmp_path, adapters=4).with_overrides(
        {
            "adapters.hot.max_adapters": 1,
            "adapters.warm.capacity_gb": 1.5 * adapter_bytes / 1e9,
            "adapters.nvme.capacity_gb": 1.5 * adapter_bytes / 1e9,
            "adapters.initial_tier": "store",
            "adapters.store": {"latency_s": 0.01, "tls_s": 0.0},
        }
    )
    asks = [Ask(0.15 * turn, turn % 3, 8, 3) for turn in range(9)]
    lived = live(scenario, asks, tmp_path / "out")
    assert lived.answers == alone(scenario, asks, tmp_path)
    assert len(lived.decided("fetch_started")) > 3
    rows = read_rows(lived.result.directory / files.STEPS)
    downloads = [row.end_s - row.start_s for row in rows if row.kind == TRANSFER and row.link == 0]
    assert min(downloads) >= 0.01


def test_a_damaged_adapter_file_fails_its_own_requests_alone(tmp_path: Path) -> None:
    scenario = live_scenario(tmp_path, adapters=3).with_overrides(
        {"adapters.loading": {"corrupt": ["tenant-0001"], "retries": 1, "backoff_s": 0.01}}
    )
    asks = [Ask(0.01 * turn, turn % 3, 8, 3) for turn in range(9)]
    lived = live(scenario, asks, tmp_path / "out")
    assert lived.statuses == ["completed", "failed", "completed"] * 3
    assert set(lived.result.requests["reason"].dropna()) == {"adapter_load"}
    said = alone(scenario, asks, tmp_path)
    assert lived.answers == {n: said[n] for n in range(9) if n % 3 != 1}


@pytest.mark.parametrize("tier", ["warm", "nvme", "store"])
def test_a_damaged_adapter_fails_in_a_simulation_as_it_does_here(tier: str, tmp_path: Path) -> None:
    """Wherever the run begins with it; by its name or, alone in its group, by the group's."""
    both = {"adapter": {"rank": 4}}
    scenario = live_scenario(tmp_path, adapters=3, adapter_loading="blocking").with_overrides(
        {
            "tenants": [{"name": "alone"} | both, {"name": "two", "count": 2} | both],
            "adapters.initial_tier": tier,
            "adapters.loading": {
                "corrupt": ["alone", "two-0001"],
                "retries": 1,
                "backoff_s": 0.01,
            },
        }
    )
    asks = [Ask(0.01 * turn, turn % 3, 8, 3) for turn in range(9)]
    lived = live(scenario, asks, tmp_path / "out")
    simulated = [request.status for request in run(scenario, asks).requests]
    assert lived.statuses == [STATUS_NAMES[status] for status in simulated]
    assert lived.statuses == ["failed", "completed", "failed"] * 3
    assert replayed(lived) == lived.decisions


def test_answers_that_a_later_turn_repeats_are_those_of_the_trace(tmp_path: Path) -> None:
    """The second prompt is the first one with its answer; its cached KV is of these very tokens."""
    scenario = live_scenario(tmp_path, adapters=1)
    hashes = (7, 8, 9)
    asks = [
        Ask(0.0, 0, prompt_tokens=20, output_tokens=30, hashes=hashes),
        Ask(1.5, 0, prompt_tokens=50, output_tokens=4, hashes=hashes),
    ]
    lived = live(scenario, asks, tmp_path / "out")
    assert lived.decided("admitted")[1]["cached_tokens"] == 48
    assert lived.answers == alone(scenario, asks, tmp_path)


FAST = {"hbm_gb_per_s": 1e5, "bf16_tflops": 1e5}  # what is simulated of it takes no time


def test_weights_that_do_not_fit_are_told_before_anything_is_allocated(tmp_path: Path) -> None:
    """4 TiB in each of its matrices, which no system gives."""
    scenario = live_scenario(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps(CONFIG | {"hidden_size": 2**20, "num_attention_heads": 2**16})
    )
    scenario = scenario.with_overrides(
        {
            "catalog": {"gpus": {"large": {"base": "cpu", "memory_gib": 1e6} | FAST}},
            "fleet.0.gpu": "large",
            "engine.memory.kv_cache_tokens": 10**8,
        }
    )
    with pytest.raises(UserError, match=r"^model\.name: the weights of .* in float32, but .* free"):
        live(scenario, [Ask(0.0)], tmp_path / "out")


def test_a_pool_that_does_not_fit_is_told_with_what_would(tmp_path: Path) -> None:
    scenario = live_scenario(tmp_path).with_overrides(
        {
            "catalog": {"gpus": {"large": {"base": "cpu", "memory_gib": 1e6}}},
            "fleet.0.gpu": "large",
            "engine.memory.kv_cache_tokens": 10**12,
        }
    )
    with pytest.raises(UserError, match=r"does not fit into the .* set engine.memory.kv_cache"):
        live(scenario, [Ask(0.0)], tmp_path / "out")
