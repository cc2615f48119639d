"""The pages without a browser: what their controls do, and what is said of mistakes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from simlora import load_scenario, simulate
from simlora.dashboard import jobs
from simlora.dashboard.pages import PAGES
from simlora.dashboard.scenario_text import as_code, scenario_from_text
from simlora.dashboard.state import default_text
from tests.unit.dashboard.driving import PATIENCE_S, press, settled, texts

APP = str(Path(__file__).parents[3] / "app.py")


pytestmark = pytest.mark.usefixtures("tidied")


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """A session on a server whose ./runs is empty."""
    monkeypatch.chdir(tmp_path)
    return AppTest.from_file(APP, default_timeout=60)


def alone(module: str) -> AppTest:
    """A page without what surrounds it but the progress."""

    def page(module: str) -> None:
        from importlib import import_module

        from simlora.dashboard import jobs, state

        state.open_session()
        import_module(module).show()
        jobs.watch()

    return AppTest.from_function(page, args=(module,), default_timeout=60)


def set_number(app: AppTest, label: str, value: float) -> AppTest:
    next(one for one in app.number_input if one.label == label).set_value(value).run()
    return app


def figures(app: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in app.metric}


def test_the_first_page_has_a_result_without_being_asked(app: AppTest) -> None:
    shown = figures(settled(app))
    assert set(shown) >= {"TTFT p99", "Found hot", "Fleet a month", "Within promises"}
    assert shown["Fleet a month"] == "$1,440"


def test_a_control_changes_the_scenario_the_link_and_nothing_else_until_asked(
    app: AppTest,
) -> None:
    before = figures(settled(app))
    set_number(app, "Replicas", 2)
    assert figures(app) == before
    assert "press Simulate" in texts(app.info)
    assert app.session_state["scenario"].fleet[0].replicas == 2
    assert app.query_params["s"]
    after = figures(press(app, "Simulate"))
    assert after["Fleet a month"] == "$2,880"
    assert after["TTFT p99"] != before["TTFT p99"]
    assert "press Simulate" not in texts(app.info)


def test_a_pinned_result_is_compared_with(app: AppTest) -> None:
    settled(app)
    press(app, "Pin this result")
    assert all(one.delta == "as pinned" for one in app.metric)
    set_number(app, "Replicas", 2)
    press(app, "Simulate")
    assert next(one.delta for one in app.metric if one.label == "Fleet a month") == "+100 %"
    press(app, "Unpin")
    assert all(not one.delta for one in app.metric)


def test_a_change_back_to_the_loaded_scenario_takes_the_link_away(app: AppTest) -> None:
    settled(app)
    set_number(app, "Replicas", 2)
    assert "s" in app.query_params
    set_number(app, "Replicas", 1)
    assert "s" not in app.query_params


def test_an_impossible_setting_is_told_and_the_last_good_one_kept(app: AppTest) -> None:
    settled(app)
    set_number(app, "GPUs per replica", 3)
    assert "fleet.0.tensor_parallel" in texts(app.error)
    assert app.session_state["scenario"].fleet[0].tensor_parallel == 1
    assert not app.exception


def test_a_scenario_that_does_not_fit_its_gpu_is_told_in_a_sentence(app: AppTest) -> None:
    scenario = scenario_from_text(default_text(), "default")
    huge = scenario.with_overrides({"model": "llama-3.1-405b"})
    app.query_params["s"] = as_code(huge)
    settled(app)
    assert texts(app.error).startswith("fleet.0: llama-3.1-405b in bf16 needs")
    assert not app.metric


def test_a_link_to_too_large_a_scenario_opens_the_default_and_says_why(app: AppTest) -> None:
    scenario = scenario_from_text(default_text(), "default")
    app.query_params["s"] = as_code(scenario.with_overrides({"workload.duration_s": 1e6}))
    settled(app)
    assert "more than the 200,000" in texts(app.error)
    assert figures(app)["Fleet a month"] == "$1,440"


def test_a_shipped_scenario_replaces_the_present_one_and_says_what_it_shows(app: AppTest) -> None:
    settled(app)
    next(one for one in app.selectbox if one.label == "Start from").select("three-tiers").run()
    assert app.session_state["scenario"].name == "three-tiers"
    assert not app.exception
    shows = "Three tiers on one fleet, each with its share."
    assert shows in [caption.value for caption in app.sidebar.caption]


def test_every_shipped_scenario_can_be_chosen_or_is_refused_in_a_sentence(app: AppTest) -> None:
    settled(app)
    options = next(one for one in app.selectbox if one.label == "Start from").options
    assert len(options) > 15
    loaded = []
    for name in options[1:]:
        next(one for one in app.selectbox if one.label == "Start from").select(name).run()
        assert not app.exception
        if app.session_state["load_mistake"] is None:
            loaded.append(name)
            assert app.session_state["scenario"].name == name
        else:
            assert "command line" in app.session_state["load_mistake"]
    assert len(loaded) > 12


def test_sessions_have_states_of_their_own(app: AppTest) -> None:
    other = AppTest.from_file(APP, default_timeout=60)
    settled(app)
    settled(other)
    set_number(app, "Replicas", 3)
    press(app, "Simulate")
    other.run()
    assert other.session_state["scenario"].fleet[0].replicas == 1
    assert figures(other)["Fleet a month"] == "$1,440"
    assert figures(app)["Fleet a month"] == "$4,320"


def test_a_new_simulation_takes_the_place_of_the_running_one(app: AppTest) -> None:
    settled(app)
    set_number(app, "Duration (s)", 20_000.0)
    next(one for one in app.button if one.label == "Simulate").click().run()
    first = app.session_state["desk"].job.worker
    set_number(app, "Duration (s)", 30.0)
    press(app, "Simulate")
    assert first.dead
    assert app.session_state["scenario"].workload.duration_s == 30


def test_an_equal_scenario_is_not_computed_twice(app: AppTest) -> None:
    settled(app)
    other = AppTest.from_file(APP, default_timeout=60)
    other.run()
    assert other.session_state["desk"].job is None
    assert figures(other) == figures(app)


@pytest.mark.parametrize("entry", PAGES[1:], ids=lambda entry: entry.path)
def test_every_page_says_what_to_do_while_it_is_empty(
    entry: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = alone(entry.module).run()  # type: ignore[attr-defined]
    assert not page.exception
    assert page.title[0].value == entry.title  # type: ignore[attr-defined]
    assert len(page.info) == 1
    assert texts(page.info).endswith(".")


@pytest.mark.parametrize(
    ("method", "chosen", "divided"),
    [
        ("tokens", "tokens", "tokens"),
        (
            {"tokens": 0.5, "residency": 0.5},
            "the scenario's mix",
            "50 % tokens + 50 % residency",
        ),
    ],
)
def test_a_bill_is_divided_as_the_scenario_says_unless_chosen_otherwise(
    app: AppTest, method: object, chosen: str, divided: str
) -> None:
    scenario = scenario_from_text(default_text(), "default")
    asked = scenario.with_overrides({"cost.attribution.method": method, "workload.duration_s": 30})
    page = alone("simlora.dashboard.page_cost")
    page.query_params["s"] = as_code(asked)
    settled(page)
    assert next(o for o in page.selectbox if o.label == "Divide the bill by").value == chosen
    press(page, "Tell the cost")
    assert f"divided by {divided}" in texts(page.caption)


def test_a_plan_without_a_gpu_to_choose_from_is_not_searched(app: AppTest) -> None:
    page = alone("simlora.dashboard.page_plan").run()
    page.multiselect[0].set_value([]).run()
    assert texts(page.warning) == "Choose at least one GPU."
    assert next(one for one in page.button if "cheapest" in one.label).disabled


def test_a_plan_may_choose_from_more_gpus_than_one_would_pick_by_hand(app: AppTest) -> None:
    gpus = ["l40s", "a100-40gb", "a100-80gb", "h100-80gb", "h200", "b200"]
    scenario = scenario_from_text(default_text(), "default").with_overrides({"plan.gpus": gpus})
    page = alone("simlora.dashboard.page_plan")
    page.query_params["s"] = as_code(scenario)
    page.run()
    assert not page.exception
    assert page.multiselect[0].value == gpus


def test_names_in_a_mistake_are_no_markdown(app: AppTest) -> None:
    settled(app)
    app.session_state["load_mistake"] = "![x](http://a.b/c.png): $5 and $6"
    app.run()
    assert app.error[0].value == r"!\[x\](http://a.b/c.png): \$5 and \$6"


def test_tiers_say_that_they_leave_out_the_scenarios_own_pattern_of_arrivals(app: AppTest) -> None:
    page = alone("simlora.dashboard.page_tiers").run()
    assert "Poisson" not in texts(page.caption)
    scenario = scenario_from_text(default_text(), "default")
    page = alone("simlora.dashboard.page_tiers")
    page.query_params["s"] = as_code(scenario.with_overrides({"workload.arrivals": "diurnal"}))
    assert "arrive as a Poisson process" in texts(page.run().caption)


def read_to_the_end(app: AppTest) -> AppTest:
    """The page Runs once everything is read that is chosen there."""
    deadline_s = time.monotonic() + PATIENCE_S
    app.run()
    while app.session_state["runs_asked"] is not None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
        app.run()
    assert not app.exception
    return app


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory ./runs of a server, with one run in it."""
    monkeypatch.chdir(tmp_path)
    scenario = scenario_from_text(default_text(), "x").with_overrides({"workload.duration_s": 30})
    simulate(scenario, out=tmp_path / "runs" / "short")
    jobs.workers().close()  # new ones start in this directory
    jobs.workers.clear()
    return tmp_path / "runs"


def test_runs_are_read_and_shown_with_their_figures(runs: Path) -> None:
    page = read_to_the_end(alone("simlora.dashboard.page_runs"))
    table = page.dataframe[0].value
    assert "short" in table.columns
    assert "TTFT p99" in set(table["figure"])


def test_a_run_that_cannot_be_read_is_told_and_keeps_no_other_from_being_shown(runs: Path) -> None:
    shutil.copytree(runs / "short", runs / "broken")
    (runs / "broken" / "requests.parquet").write_bytes(b"none")
    page = alone("simlora.dashboard.page_runs")
    page.run()
    page.multiselect[0].set_value([Path("runs/broken")])
    read_to_the_end(page)
    assert "broken/requests.parquet: cannot be read" in texts(page.error)
    page.multiselect[0].set_value([Path("runs/short"), Path("runs/broken")])
    read_to_the_end(page)
    assert "broken/requests.parquet: cannot be read" in texts(page.error)
    assert "short" in page.dataframe[0].value.columns
    page.multiselect[0].set_value([Path("runs/short")])
    assert not read_to_the_end(page).error


def test_a_kept_run_is_the_one_that_the_command_line_would_write(tmp_path: Path) -> None:
    from simlora.dashboard.run_tasks import keep_run

    scenario = scenario_from_text(default_text(), "x").with_overrides({"workload.duration_s": 20})
    out = keep_run(tmp_path, lambda *_: None, scenario, tmp_path / "runs" / "mine")
    again = load_scenario(out / "scenario.resolved.yaml")
    assert again == scenario
    assert (out / "report.html").is_file()
    simulate(again, out=tmp_path / "again")
    name = "requests.parquet"
    assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
