"""What a live run refuses, and what it leaves out and says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.live.limits import served_here
from simlora.scenario.deployment import expand
from simlora.workload.prefix_blocks import check_prefix_blocks
from tests.simulating import Ask, small_scenario, traffic_of

REFUSED: dict[str, dict[str, Any]] = {
    "engine.scheduler.merged": {"engine": {"scheduler": {"merged": {}}}},
    "fleet.0.tensor_parallel": {"fleet": [{"gpu": "mini", "tensor_parallel": 2}]},
    "adapters.hot.eviction": {"adapters": {"hot": {"eviction": "belady+priority"}}},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_served_is_refused_by_its_field(field: str) -> None:
    with pytest.raises(UserError, match=f"^{field}: "):
        served_here(small_scenario(**REFUSED[field]))


LEFT_OUT: dict[str, dict[str, Any]] = {
    "one replica of its first pool": {"fleet": [{"gpu": "mini", "replicas": 3}, {"gpu": "a10g"}]},
    "events do not happen": {"events": [{"at_s": 1, "duration_s": 5, "crash": 0}]},
    "nothing is loaded ahead": {"adapters": {"prefetch": {"top_k": 2}}},
    "no transfers fail": {"adapters": {"loading": {"failure_rate": 0.5}}},
    "not quantized to fp8": {"model": {"name": "tiny-llama", "weights": "fp8"}},
}


@pytest.mark.parametrize("words", LEFT_OUT)
def test_what_is_left_out_is_told_once_and_left_out(words: str) -> None:
    scenario = small_scenario(**LEFT_OUT[words])
    served, notes = served_here(scenario)
    assert [note for note in notes if words in note] == notes
    assert len(notes) == 1
    again, none = served_here(served)
    assert again == served
    assert none == (notes if "fp8" in words else [])
    expand(served)


def test_a_scenario_that_can_be_served_is_left_as_it_is() -> None:
    scenario = small_scenario()
    assert served_here(scenario) == (scenario, [])


def test_a_prefix_hash_must_stand_for_whole_blocks() -> None:
    scenario = small_scenario(engine={"kv_block_tokens": 12, "max_model_len": 512})
    traffic = traffic_of(expand(scenario), [Ask(0.0)])
    with pytest.raises(UserError, match=r"engine\.kv_block_tokens: 12 does not divide the 16"):
        check_prefix_blocks(scenario, traffic)


def test_a_live_run_writes_nowhere_before_it_knows_that_it_can(tmp_path: Path) -> None:
    from simlora.live import run_live

    out = tmp_path / "out"
    with pytest.raises(UserError):
        run_live(small_scenario(**REFUSED["engine.scheduler.merged"]), out)
    assert not out.exists()
