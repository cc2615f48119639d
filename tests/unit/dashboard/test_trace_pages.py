"""The pages with an uploaded trace as the load, and what a link brings back, without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from simlora.dashboard.scenario_text import as_code, scenario_from_text
from simlora.dashboard.state import default_text, keyed
from simlora.dashboard.trace_replay import packed
from tests.unit.dashboard.driving import control, go, labels, opened, press, settled, texts

ROOT = Path(__file__).parents[3]
BURSTY = ROOT / "traces/bursty.parquet"
OWN_LOAD = "Use the scenario's own load"


pytestmark = pytest.mark.usefixtures("tidied")


def with_trace(app: AppTest) -> AppTest:
    """Upload a trace on its page, read it, and take it as the load."""
    go(app, "trace")
    upload = app.file_uploader(key="trace_upload")
    upload.set_value([(BURSTY.name, BURSTY.read_bytes(), "")]).run()
    press(app, "Read the trace")
    return press(app, "Use this trace as the load")


@pytest.fixture
def app() -> AppTest:
    """A session in which the trace is the load."""
    return with_trace(settled(opened("what_if")))


def test_a_trace_takes_the_place_of_the_synthetic_load_and_of_its_controls(app: AppTest) -> None:
    go(app, "trace")
    workload = app.session_state["scenario"].workload
    assert workload.trace.endswith("/bursty-load.parquet")
    assert workload.max_requests == 6611
    assert "bursty.parquet" in texts(app.sidebar.markdown)
    assert "6,611 requests of 200 tenants" in texts(app.sidebar.markdown)
    assert "20 gold, 60 silver, 120 free" in texts(app.sidebar.caption)
    assert {"Requests of the trace", "Speed of the replay (times)", OWN_LOAD} <= labels(app)
    assert not {"Requests per second", "Popularity (Zipf exponent)", "Duration (s)"} & labels(app)
    assert app.query_params["trace"] == "bursty.parquet"
    table = app.dataframe[0].value
    assert table["in the trace"].iloc[0] == "tenant-0054"  # the busiest
    assert table["in the scenario"].nunique() == 200


def test_what_if_replays_the_trace_as_fast_and_as_long_as_its_controls_say(app: AppTest) -> None:
    go(app, "what_if")
    press(app, "Simulate")
    slow = app.session_state["desk"].results["what-if"][1].summary
    assert slow["requests"]["offered"] == 6611
    assert slow["requests"]["reasons"]["rejected"]["context_length"] > 0
    assert "8,177 tokens" in texts(app.sidebar.caption)
    control(app, "Requests of the trace").set_value(1000)
    control(app, "Speed of the replay (times)").set_value(2.0)
    control(app, "Longest request (tokens)").set_value(0)
    app.run()
    assert "press Simulate" in texts(app.info)
    press(app, "Simulate")
    fast = app.session_state["desk"].results["what-if"][1].summary
    assert fast["requests"]["offered"] == fast["requests"]["completed"] == 1000
    assert "8,177 tokens" not in texts(app.sidebar.caption)


def test_the_other_pages_replay_it_once_and_without_a_burst_of_their_own(app: AppTest) -> None:
    go(app, "policies")
    control(app, "Requests of the trace").set_value(500)
    assert "Replications" not in labels(app)
    press(app, "Compare")
    compared = app.session_state["desk"].results["policies"][1].compared
    assert len(compared.seeds) == 1
    assert not compared.other_traffic
    go(app, "tiers")
    assert not {"Noisy neighbour", "Requests in the burst"} & labels(app)
    press(app, "Simulate")
    assert app.session_state["desk"].results["tiers"][1].harm.requests > 0
    go(app, "cost")
    press(app, "Tell the cost")
    assert len(app.session_state["desk"].results["cost"][1].tenants) == 200


def test_the_way_back_finds_the_controls_as_they_were_left() -> None:
    app = settled(opened("what_if"))
    control(app, "Requests per second").set_value(11.0)
    app.run()
    with_trace(app)
    assert "Requests per second" not in labels(app)
    press(app, OWN_LOAD)
    assert app.session_state["scenario"].workload.trace is None
    assert control(app, "Requests per second").value == 11
    assert "trace" not in app.query_params
    assert "Use this trace as the load" in labels(app)


def test_another_scenario_replays_the_same_trace() -> None:
    app = with_trace(settled(opened("what_if")))
    upload = next(one for one in app.sidebar.file_uploader if one.label == "Scenario (YAML)")
    raw = (ROOT / "scenarios/three-tiers.yaml").read_bytes()
    upload.set_value(("three.yaml", raw, "application/yaml"))
    settled(app)
    scenario = app.session_state["scenario"]
    assert scenario.name == "three-tiers"
    assert scenario.workload.trace is not None
    assert sum(group.count for group in scenario.tenants) == 200


def test_a_scenario_that_cannot_have_the_traces_tenants_keeps_its_own_load_and_says_so() -> None:
    app = with_trace(settled(opened("what_if")))
    limit = "gateway: {rate_limits: {gold-0199: {rps: 1.0}}}"
    text = default_text().replace("count: 20,", "count: 200,") + limit
    upload = next(one for one in app.sidebar.file_uploader if one.label == "Scenario (YAML)")
    upload.set_value(("strict.yaml", text.encode(), "application/yaml"))
    settled(app)
    assert "bursty.parquet: cannot be the load of this scenario" in texts(app.error)
    assert app.session_state["scenario"].workload.trace is None
    go(app, "what_if")
    assert figures_offered(press(app, "Simulate")) > 0


def figures_offered(app: AppTest) -> int:
    offered: int = app.session_state["desk"].results["what-if"][1].summary["requests"]["offered"]
    return offered


def test_a_link_with_a_trace_says_that_it_must_be_uploaded_again_and_works_without() -> None:
    app = settled(opened("what_if", trace="my_trace.csv", replay_speed="2"))
    told = texts(app.sidebar.warning)
    assert "my" in told
    assert "upload it again on the Trace page" in told
    assert told.count(".") - told.count(".csv") == 1  # one sentence
    assert figures_offered(app) > 0
    with_trace(app)
    assert not app.sidebar.warning
    assert app.session_state["scenario"].workload.rate_scale == 2


def test_a_trace_that_is_not_wanted_is_not_asked_for_again() -> None:
    app = settled(opened("what_if", trace="my.csv"))
    press(app, OWN_LOAD)
    assert not app.sidebar.warning
    assert "trace" not in app.query_params


def test_a_link_restores_the_controls_of_its_page() -> None:
    code = as_code(scenario_from_text(default_text(), "x").with_overrides({"seed": 5}))
    policies = opened(
        "policies",
        s=code,
        policy_field="Fairness",
        policy_replications="7",
        **{"policies_gateway.fairness.policy": ["vtc", "fcfs"]},
    )
    assert control(policies, "Compare").value == "Fairness"
    assert control(policies, "Policies, the baseline first").value == ["vtc", "fcfs"]
    assert control(policies, "Replications").value == 7
    assert control(policies, "Seed").value == 5
    query = {"burst_requests": "111", "harm_replications": "4", "noisy": "false"}
    tiers = opened("tiers", protection="both", **query)
    assert control(tiers, "Requests in the burst").value == 111
    assert control(tiers, "Replications").value == 4
    assert control(tiers, "Noisy neighbour").value is False
    assert control(tiers, "Protection").value == "both"
    cost_method = {keyed("cost_method", "gpu_seconds"): "residency"}
    cost = opened("cost", cost_tenant="gold-0003", **cost_method)
    assert control(cost, "Divide the bill by").value == "residency"
    assert control(cost, "Dedicate an instance to").value == "gold-0003"
    plan = opened("plan", plan_budget="5000", plan_headroom="true")
    assert control(plan, "Budget (USD a month)").value == 5000
    assert control(plan, "Also find the load that it holds").value is True


def test_nonsense_in_a_link_leaves_a_control_as_it_is_without_it() -> None:
    app = opened("policies", policy_replications="many", policy_field="Weather", noisy="false")
    assert not app.exception
    assert control(app, "Compare").value == "Eviction in GPU memory"
    assert control(app, "Replications").value == 3


def _take_over() -> None:
    """A session whose load is a trace takes over another fleet, as the page Plan does."""
    from pathlib import Path

    import streamlit as st

    from simlora.dashboard import sidebar, state

    state.open_session()
    state.use_trace(st.session_state["load"])
    sidebar.scenario_sidebar(Path())
    state.take_over(state.scenario().with_overrides({"fleet.0.replicas": 3}))


def test_a_fleet_that_was_found_for_the_trace_leaves_the_scenarios_own_load_as_it_is(
    tmp_path: Path,
) -> None:
    app = AppTest.from_function(_take_over, default_timeout=60)
    app.session_state["load"] = packed(BURSTY, BURSTY.name, 6611, tmp_path)
    app.run()
    assert not app.exception
    default = scenario_from_text(default_text(), "x")
    own = app.session_state["own"]
    assert own.fleet[0].replicas == 3
    assert own.workload == default.workload
    assert own.tenants == default.tenants
