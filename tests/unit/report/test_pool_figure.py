"""Load by pool: shown for fleets whose pools differ, and true to the requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

import simlora
from simlora.errors import UserError
from simlora.report import style, write_report
from simlora.report.pool_figure import has_mixed_load, load_by_pool
from simlora.results.files import REQUESTS
from simlora.results.result import Result
from simlora.scenario.schema import Scenario

MOVE = {
    "mode": "switch",
    "candidate": {"model": "llama-3.1-8b", "name": "next"},
    "start_s": 60,
    "every_s": 12,
}
OLD_AND_NEW: list[dict[str, Any]] = [
    {"name": "old", "gpu": "l40s", "replicas": 2},
    {"name": "new", "gpu": "l40s", "model": "llama-3.1-8b"},
]


def simulated(fleet: list[dict[str, Any]], rollout: dict[str, Any] | None = None) -> Result:
    tenant = {"name": "clinic", "count": 10, "adapter": {"rank": 8}}
    return simlora.simulate(
        Scenario.model_validate(
            {
                "name": "moving",
                "model": "llama-2-7b",
                "fleet": fleet,
                "tenants": [tenant | ({"rollout": rollout} if rollout else {})],
                "workload": {
                    "duration_s": 240,
                    "rate_rps": 4,
                    "prompt_tokens": {"fixed": 200},
                    "output_tokens": {"fixed": 60},
                },
                "engine": {"max_model_len": 2048},
            }
        )
    )


@pytest.fixture(scope="module")
def move() -> Result:
    return simulated(OLD_AND_NEW, MOVE)


def test_a_move_shows_one_pool_emptying_while_the_other_fills(move: Result) -> None:
    with style.styled():
        figure = load_by_pool(move)
    came, running = figure.axes
    old, new = (np.asarray(line.get_ydata(), float) for line in running.get_lines()[:2])
    times = np.asarray(running.get_lines()[0].get_xdata(), float) * 60
    before, after = times < 55, (times > 190) & (times < 235)
    assert np.nansum(new[before]) == 0 < np.nanmean(old[before])
    assert np.nansum(old[after]) == 0 < np.nanmean(new[after])
    assert [text.get_text() for text in came.get_legend().get_texts()] == ["old", "new"]  # type: ignore[union-attr]


def test_areas_are_the_requests_that_went_to_each_pool(move: Result) -> None:
    with style.styled():
        came = load_by_pool(move).axes[0]
    span_s = move.summary["simulation"]["span_s"]
    replica = move.requests["replica"]
    areas = [area for area in came.collections if isinstance(area, PolyCollection)][:2]
    for area, mine in zip(areas, (replica < 2, replica == 2), strict=True):
        # Down along the bottom of a stack and back along its top: its height at each bin's centre.
        outline = np.asarray(area.get_paths()[0].vertices, float)[:-1]
        heights: dict[float, list[float]] = {}
        for x, y in outline.tolist():
            heights.setdefault(round(x, 9), []).append(y)
        total = sum(max(ys) - min(ys) for ys in heights.values()) * span_s / len(heights)
        assert total == pytest.approx(mine.sum())


def test_regions_count_and_pools_of_one_kind_do_not(move: Result) -> None:
    assert has_mixed_load(move)
    assert "<h3>Load by pool</h3>" in write_report(move).read_text()
    east_and_west: list[dict[str, Any]] = [
        {"gpu": "l40s", "region": "us-east"},
        {"gpu": "l40s", "region": "eu-west"},
    ]
    assert has_mixed_load(simulated(east_and_west))
    alike = simulated([{"gpu": "l40s"}, {"gpu": "l40s"}])
    assert not has_mixed_load(alike)
    assert "Load by pool" not in write_report(alike).read_text()


def test_a_table_that_cannot_be_read_is_one_sentence(move: Result, tmp_path: Path) -> None:
    move.save(tmp_path)
    (tmp_path / REQUESTS).write_text("no table")
    with style.styled(), pytest.raises(UserError, match="cannot be read as the Parquet table"):
        load_by_pool(Result(tmp_path, move.summary))
