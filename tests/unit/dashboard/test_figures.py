"""What the pages show of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from simlora import Result, Scenario, simulate
from simlora.dashboard import operator_charts
from simlora.dashboard.figures import POINTS, _seconds_in_use, figures_of
from simlora.dashboard.kpis import KPIS, SAME, _change
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.scenario_text import scenario_from_text
from simlora.dashboard.state import default_text
from simlora.report.outside import what_was_seen
from simlora.results.recorder import Recorder
from simlora.results.schema import MEASURED, MemoryFacts, TimingFacts
from tests.unit.results import recorded


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return scenario_from_text(default_text(), "default").with_overrides({"workload.duration_s": 60})


@pytest.fixture(scope="module")
def result(scenario: Scenario) -> Result:
    return simulate(scenario)


@pytest.fixture(scope="module")
def figures(result: Result) -> RunFigures:
    return figures_of(result)


def test_cold_lookups_over_time_add_up_to_all_misses(figures: RunFigures, result: Result) -> None:
    times = figures.gauges["time_s"].to_numpy()
    span_s = result.summary["simulation"]["span_s"]
    widths_s = np.diff(np.append(times, span_s))
    adapters = result.summary["adapters"]
    misses = adapters["lookups"] - adapters["hits"]
    assert float(figures.gauges["cold_per_s"] @ widths_s) == pytest.approx(misses)
    assert len(times) <= POINTS


def test_owners_share_the_whole_page_pool(figures: RunFigures, result: Result) -> None:
    memory = result.summary["memory"]
    pool_gb = memory["pool_pages"] * memory["page_bytes"] / 1e9
    owners = figures.gauges[["adapter_gb", "kv_gb", "prefix_gb", "free_gb"]].sum(axis=1)
    assert owners.to_numpy() == pytest.approx(pool_gb)


def test_adapters_have_the_requests_of_the_run(figures: RunFigures, result: Result) -> None:
    adapters = result.summary["adapters"]
    assert figures.adapters["requests"].sum() == adapters["lookups"]


def test_memory_of_an_adapter_in_use_is_at_most_its_size_and_at_most_what_adapters_hold(
    figures: RunFigures, scenario: Scenario
) -> None:
    largest_gb = 2 * 83_886_080 / 1e9  # rank 32 of Llama-3.1-8B, in bf16
    assert figures.adapters["held_gb"].between(0, largest_gb).all()
    assert figures.adapters["held_gb"].sum() <= figures.gauges["adapter_gb"].max()
    assert figures.adapters["held_gb"].sum() > 0


def test_overlapping_requests_of_an_adapter_count_once_and_gaps_not_at_all() -> None:
    spans = [(0, 4), (1, 2), (3, 6), (10, 11)]
    requests = pd.DataFrame(
        {
            "adapter": "a",
            "replica": 0,
            "prefill_s": 0.25,
            "decode_s": [end - begin - 0.25 for begin, end in spans],
            "preempted_s": 0.0,
            "finish_s": [float(end) for _, end in spans],
        }
    )
    assert _seconds_in_use(requests)["a"] == pytest.approx(6 + 1)
    elsewhere = pd.concat([requests, requests.assign(replica=1)])
    assert _seconds_in_use(elsewhere)["a"] == pytest.approx(2 * 7)


def test_the_words_are_those_of_the_report(figures: RunFigures) -> None:
    assert any("promise" in paragraph for paragraph in figures.words)
    assert len(figures.words) >= 3


def test_of_a_run_that_a_client_measured_only_what_it_saw_is_told(tmp_path: Path) -> None:
    recorder = Recorder(recorded.deployment(), tmp_path, warmup_s=0.0)
    recorder.pending.extend(
        recorded.completed(recorded.deployment(), n, n / 8, n % 7, source=0) for n in range(100)
    )
    unknown = (MemoryFacts(0, 0, 0, 0),) * 2
    timing = TimingFacts("http://gpu:8000", MEASURED)
    measured = recorder.close(recorded.facts(20.0, timing=timing, memory=unknown))
    assert figures_of(measured).words[-1] == what_was_seen(measured)[-1]


def test_a_run_without_gauges_has_all_of_its_panels(tmp_path: Path) -> None:
    of = recorded.deployment()
    requests = [recorded.completed(of, n, n / 8, n % 7) for n in range(100)]
    found = figures_of(recorded.record(of, tmp_path, requests, 20.0))
    assert not len(found.gauges)

    def panels(found: object) -> None:
        from simlora.dashboard.operator_charts import draw

        draw({"quiet": found})  # type: ignore[dict-item]

    page = AppTest.from_function(panels, args=(found,), default_timeout=60).run()
    assert not page.exception
    assert "Nothing was sampled" in " ".join(one.value for one in page.caption)


def test_tooltips_of_bars_tell_what_is_there(
    figures: RunFigures, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def panel(title: str, about: str, chart: Any, *more: Any) -> None:
        drawn[title] = chart.to_dict()

    monkeypatch.setattr(operator_charts, "panel", panel)
    for bars, whose in (
        (operator_charts._p99_by_adapter, "adapter"),
        (operator_charts._memory_by_adapter, "adapter"),
        (operator_charts._cost_by_tenant, "tenant"),
    ):
        bars({"one": figures, "two": figures})
        chart = drawn.popitem()[1]
        told = [tip["field"] for tip in chart["encoding"]["tooltip"]]
        assert told[0] == whose
        (rows,) = chart["datasets"].values()
        assert set(told) <= rows[0].keys()


def test_ttft_over_time_has_every_tier_within_the_run(figures: RunFigures, result: Result) -> None:
    assert set(figures.ttft["tier"]) == {"gold", "silver", "free"}
    assert figures.ttft["time_s"].between(0, result.summary["simulation"]["span_s"]).all()
    for tier, of_tier in figures.ttft.groupby("tier"):
        slowest_s = result.requests.loc[result.requests["tier"] == tier, "ttft_s"].max()
        assert of_tier["p99_s"].between(0, slowest_s).all()


def test_every_key_figure_has_a_value_a_unit_and_a_word_on_what_it_is(figures: RunFigures) -> None:
    for kpi in KPIS:
        told = kpi.told(kpi.of(figures.summary))
        assert told != "—"
        assert any(mark in told for mark in ("s", "%", "$")) or "/s" in kpi.label
        assert kpi.help.endswith(".")


def test_an_old_run_without_a_readable_scenario_has_no_sizes(
    scenario: Scenario, tmp_path: object
) -> None:
    again = simulate(scenario)
    (again.directory / "scenario.resolved.yaml").write_text("name: [")
    assert figures_of(again).adapters["held_gb"].isna().all()


@pytest.mark.parametrize(
    ("value", "before", "told"),
    [
        (2.0, 1.0, "+100 %"),
        (0.97, 1.0, "-3.0 %"),
        (1.0, 1.0, SAME),
        (0.0, 0.0, SAME),
        (None, None, SAME),
        (None, 1.0, None),
        (1.0, None, None),
        (1.0, 0.0, None),
    ],
)
def test_changes_are_told_with_their_sign_and_as_none_only_where_nothing_changed(
    value: float | None, before: float | None, told: str | None
) -> None:
    assert _change(value, before) == told
