"""The other pages in a real browser: opened, their main control moved, run to their end."""

from __future__ import annotations

from pathlib import Path

from tests.browser.conftest import Open
from tests.browser.dashboard import CHANGED, await_result, charts, idle, metric, press, set_number

ROOT = Path(__file__).parents[2]


def test_policies_are_compared_with_their_bound(open_page: Open) -> None:
    page = open_page("policies")
    page.get_by_text("Nothing compared yet").wait_for()
    set_number(page, "Replications", "2")
    press(page, "Compare")
    page.get_by_text("Whom a policy serves").wait_for()
    page.get_by_text("Hit ratio beside Belady's bound").wait_for()
    page.get_by_text("Miss-ratio curves").first.wait_for()
    charts(page, 5)
    page.get_by_text("Means of 2 replications").wait_for()
    set_number(page, "Replications", "3")
    page.get_by_text(CHANGED).wait_for()
    press(page, "Compare")
    page.get_by_text("Means of 3 replications").wait_for()


def test_a_noisy_neighbour_is_switched_on_and_off(open_page: Open) -> None:
    page = open_page("tiers")
    page.get_by_text("Nothing simulated yet").wait_for()
    press(page, "Simulate")
    page.get_by_text("Who hurts whom").wait_for()
    with_burst = page.get_by_text("everybody else's requests").inner_text()
    charts(page, 7)
    page.get_by_text("Noisy neighbour", exact=True).click()
    page.get_by_text(CHANGED).wait_for()
    press(page, "Simulate")
    await_result(page)
    page.get_by_text(with_burst).wait_for(state="detached")
    assert "With and without the" in page.get_by_text("everybody else's requests").inner_text()


def test_an_uploaded_trace_is_read(open_page: Open) -> None:
    page = open_page("trace")
    page.get_by_text("Nothing uploaded yet").wait_for()
    upload = page.get_by_test_id("stMain").locator("input[type=file]")
    upload.set_input_files(ROOT / "traces/bursty.parquet")
    press(page, "Read the trace")
    assert metric(page, "Requests") == "6,611"
    assert metric(page, "Tenants") == "200"
    charts(page, 3)


def test_another_trace_gives_other_figures(open_page: Open, tmp_path: Path) -> None:
    page = open_page("trace")
    csv = tmp_path / "azure.csv"
    rows = "".join(f"2024-05-10 00:00:{n:02d}.5+00:00,{100 + n},{20 + n}\n" for n in range(60))
    csv.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    page.get_by_test_id("stMain").locator("input[type=file]").set_input_files(csv)
    press(page, "Read the trace")
    assert metric(page, "Requests") == "60"
    assert metric(page, "Tenants") == "1"
    set_number(page, "Tenants", "3")
    press(page, "Read the trace")
    page.get_by_test_id("stMetric").filter(has_text="Tenants").filter(has_text="3").wait_for()


def test_a_malformed_trace_is_told_in_a_sentence(open_page: Open, tmp_path: Path) -> None:
    page = open_page("trace")
    csv = tmp_path / "broken.csv"
    csv.write_text("arrival_s,tenant,prompt_tokens,output_tokens\n0.0,a,10,10\n1.0,a,ten,10\n")
    page.get_by_test_id("stMain").locator("input[type=file]").set_input_files(csv)
    press(page, "Read the trace")
    alert = page.get_by_test_id("stMain").get_by_test_id("stAlert").filter(has_text="broken.csv")
    alert.wait_for()
    assert "broken.csv:3" in alert.inner_text()
    assert "/" not in alert.inner_text().replace("tokens/", "")
    assert "Traceback" not in page.content()


def test_profiles_state_their_errors_and_ranges(open_page: Open, runs: Path) -> None:
    page = open_page("fidelity")
    page.get_by_text("Range of the measurements").wait_for()
    page.get_by_text("S-LoRA (repository").wait_for()
    page.get_by_role("combobox", name="Timing profile").click()
    page.get_by_role("option", name="vllm-0.8.5-h100-64gb-qwen2.5-7b").click()
    page.get_by_text("vLLM 0.8.5 (V1 engine)").wait_for()
    page.get_by_text("Error of the prediction").wait_for()
    charts(page, 2)


def test_two_summaries_are_uploaded_and_compared(open_page: Open, runs: Path) -> None:
    page = open_page("fidelity")
    page.get_by_text("uploaded summary.json files").click()
    page.get_by_text("Upload the summary.json of both").wait_for()
    inputs = page.get_by_test_id("stMain").locator("input[type=file]")
    for place, name in enumerate(("one", "two")):
        with page.expect_response("**/upload_file/**"):
            inputs.nth(place).set_input_files(runs / name / "summary.json")
        idle(page)
    page.get_by_text("Every figure of the two summaries").wait_for()


def test_runs_lie_side_by_side_with_five_panels(open_page: Open, runs: Path) -> None:
    page = open_page("runs")
    panels = (
        "TTFT p99 by adapter, the slowest",
        "Cold-load rate",
        "GPU memory by adapter, in use",
        "Promises kept, by tenant",
        "Cost by tenant, the dearest",
    )
    for panel in panels:
        page.get_by_text(panel, exact=True).wait_for()
    charts(page, 6)
    page.get_by_role("combobox", name="Runs").click()
    page.get_by_role("option").first.click()
    page.get_by_text("GPU memory by owner: one").wait_for()
    page.get_by_text("GPU memory by owner: two").wait_for()
    charts(page, 7)


def test_the_scenario_is_kept_as_a_run(open_page: Open, directory: Path) -> None:
    page = open_page("runs")
    set_number(page, "Duration (s)", "40")
    page.get_by_text("About 320 requests").wait_for()
    page.get_by_text("Keep the sidebar's scenario as a run").click()
    name = page.get_by_role("textbox", name="Name of the run")
    name.fill("kept-here")
    name.press("Enter")
    press(page, "Simulate and keep")
    page.get_by_test_id("stMultiSelect").filter(has_text="kept-here").wait_for()
    assert (directory / "runs/kept-here/summary.json").is_file()
    press(page, "Simulate and keep")
    page.get_by_test_id("stAlert").filter(has_text="is there already").wait_for()


def test_pages_of_the_menu_keep_the_scenario(open_page: Open) -> None:
    page = open_page()
    metric(page, "TTFT p99")
    set_number(page, "Replicas", "2")
    page.wait_for_url("**?s=*")
    page.get_by_role("link", name="Policies").click()
    page.get_by_role("heading", name="Policies").wait_for()
    page.wait_for_url("**/policies?s=*")
    assert page.get_by_role("spinbutton", name="Replicas", exact=True).input_value() == "2"
    page.get_by_role("link", name="What if").click()
    page.get_by_text(CHANGED).wait_for()


def test_a_month_is_reckoned_up_by_two_measures(open_page: Open) -> None:
    page = open_page("cost")
    page.get_by_text("Nothing reckoned yet").wait_for()
    press(page, "Tell the cost")
    assert metric(page, "Month").startswith("$")
    page.get_by_text("divided by gpu seconds").wait_for()
    charts(page, 3)
    page.get_by_role("combobox", name="Divide the bill by").click()
    page.get_by_role("option", name="residency").click()
    page.get_by_text(CHANGED).wait_for()
    press(page, "Tell the cost")
    page.get_by_text("divided by residency").wait_for()


def test_the_cheapest_fleet_is_found_and_taken_over(open_page: Open) -> None:
    page = open_page("plan")
    page.get_by_text("Nothing planned yet").wait_for()
    set_number(page, "At most replicas", "2")
    press(page, "Find the cheapest fleet")
    page.get_by_text("a month", exact=False).first.wait_for()
    page.get_by_text("What shows that it is enough").wait_for()
    page.get_by_text("How to start a replica").wait_for()
    charts(page, 1)
    press(page, "Take this fleet over")
    gpu = page.get_by_test_id("stSidebar").get_by_role("combobox", name="GPU", exact=True)
    page.wait_for_url("**?s=*")
    gpu.wait_for()
    assert gpu.input_value() != "l40s"
