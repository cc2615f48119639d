"""What runs add up to, and what of it is told."""

from __future__ import annotations

import json

import pytest

from simlora.planning.compare import as_json, compare
from simlora.planning.metrics import figures_of, metrics_of
from simlora.planning.paired import Verdict
from simlora.scenario.deployment import expand
from simlora.sim import simulate
from tests.simulating import small_scenario
from tests.unit.planning.comparing import HITS, LOADS, TTFT, judged


def test_a_metric_is_judged_in_its_own_direction() -> None:
    compared = judged(
        {
            "lru": {TTFT: [1.0, 1.1, 0.9], HITS: [0.5, 0.5, 0.5]},
            "new": {TTFT: [0.5, 0.6, 0.4], HITS: [0.4, 0.41, 0.39]},
        }
    )
    table = compared.table.set_index(["variant", "metric"])
    assert table.loc[("new", TTFT), "verdict"] == "better"
    assert table.loc[("new", HITS), "verdict"] == "worse"
    assert table.loc[("lru", TTFT), "verdict"] == "baseline"
    assert table.loc[("new", TTFT), "difference"] == pytest.approx(-0.5)
    assert table.loc[("new", TTFT), "relative_difference"] == pytest.approx(-0.5)
    assert compared.seeds == (7, 8, 9)


def test_verdicts_are_corrected_for_the_number_of_variants() -> None:
    base, near = [10.0, 20.0, 30.0, 40.0, 50.0], [11.0, 22.0, 33.0, 44.0, 55.0]  # p = 0.013
    alone = judged({"base": {LOADS: base}, "a": {LOADS: near}})
    assert alone.lines[-1].verdict is Verdict.WORSE
    others = {name: {LOADS: [x + (-1) ** i for i, x in enumerate(base)]} for name in "bcd"}
    crowded = judged({"base": {LOADS: base}, "a": {LOADS: near}, **others})
    line = crowded.lines[1]
    assert line.difference is not None
    assert line.difference.low is not None and line.difference.low > 0
    assert line.adjusted_p == pytest.approx(4 * 0.0132, abs=1e-3)
    assert line.verdict is Verdict.UNCLEAR


def test_only_replications_that_every_variant_finished_count() -> None:
    compared = judged({"a": {TTFT: [1.0, 2.0, 9.0]}, "b": {TTFT: [2.0, 3.5]}}, interrupted=True)
    assert compared.seeds == (7, 8)
    assert len(compared.runs) == 5
    assert [line.mean for line in compared.lines] == [1.5, 2.75]
    assert as_json(compared)["interrupted"] is True


def test_metrics_that_no_run_has_are_left_out() -> None:
    compared = judged({"a": {TTFT: [1.0]}, "b": {TTFT: [2.0]}})
    assert [metric.key for metric in compared.metrics] == [TTFT]


def test_a_metric_that_a_variant_lacks_is_not_measured() -> None:
    compared = judged({"a": {TTFT: [1.0, 1.0]}, "b": {TTFT: [None, None]}})
    assert compared.lines[-1].verdict is Verdict.NOT_MEASURED


def test_other_traffic_is_told() -> None:
    figures = {name: {TTFT: [1.0, 2.0]} for name in "abc"}
    compared = judged(figures, {"a": "x", "b": "x", "c": "y"})
    assert compared.other_traffic == ("c",)
    assert as_json(compared)["variants"]["c"]["same_traffic"] is False


def test_json_holds_plain_values_only() -> None:
    compared = judged({"a": {TTFT: [1.0, 2.0]}, "b": {TTFT: [0.0, None]}})
    assert json.loads(json.dumps(as_json(compared), allow_nan=False)) == as_json(compared)


def test_figures_are_the_summarys() -> None:
    scenario = small_scenario(
        tenants=[
            {"name": "a", "count": 2, "tier": "gold.1"},
            {"name": "b", "count": 2, "tier": "free"},
        ],
        tiers={"gold.1": {"sla": {"ttft_p99_s": 1.0}}, "free": {}},
        workload={"rate_rps": 2.0, "duration_s": 20},
    )
    deployment = expand(scenario)
    summary = simulate(scenario).summary
    metrics = metrics_of([deployment])
    figures = figures_of(metrics, summary, len(deployment.tenants))
    assert None not in figures.values()
    assert figures["tiers.gold.1.sla_attainment"] == summary["tiers"]["gold.1"]["sla_attainment"]
    assert "tiers.free.sla_attainment" not in figures
    assert figures["tiers.free.ttft_s.p99"] == summary["tiers"]["free"]["ttft_s"]["p99"]
    assert figures["cost.usd_per_tenant_month"] == summary["cost"]["fleet_usd_per_month"] / 4
    assert len({metric.key for metric in metrics}) == len(metrics)


def test_compare_in_python() -> None:
    base = small_scenario(workload={"rate_rps": 2.0, "duration_s": 20}, seed=3)
    compared = compare({"one": base, "two": base.with_overrides({"fleet.0.replicas": 2})}, 2)
    table = compared.table.set_index(["variant", "metric"])
    assert compared.seeds == (3, 4)
    assert compared.other_traffic == ()
    assert table.loc[("two", "cost.usd_per_tenant_month"), "verdict"] == "worse"
    assert table.loc[("two", "requests.completed"), "verdict"] == "the same"


def test_replications_default_to_what_a_scenario_asks_for() -> None:
    base = small_scenario(workload={"rate_rps": 1.0, "duration_s": 10}, run={"replications": 3})
    scenarios = {"a": base, "b": base.with_overrides({"run.replications": 1})}
    assert compare(scenarios, seed=11).seeds == (11, 12, 13)
