"""The fidelity page in a real browser: measurements are uploaded, predicted, and judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.calibration.tables import Selection
from simlora.dashboard.fidelity_tasks import Choice, judge_upload
from simlora.validation.fidelity import percent
from tests.browser.conftest import Open
from tests.browser.dashboard import charts, idle, metric, overflows, press
from tests.unit.calibration.measuring import write_table
from tests.unit.validation import runs as published

LLAMA = "vllm-0.8.5-h100-64gb-llama-3.1-8b"


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steps of a server that is a little slower than the shipped profile, some beyond its range."""
    rows = [
        {
            "step_ms": 14 + 0.02 * decode + 0.4 * adapters + 0.02 * slots,
            "decode_seqs": decode,
            "decode_attended_tokens": 100 * decode,
            "distinct_adapters": adapters,
            "slots": slots,
            "rank": 16,
        }
        for decode in (16, 64, 200)
        for slots in (16, 64, 300)
        for adapters in (1, 4, 16)
    ]
    return write_table(tmp_path_factory.mktemp("measured") / "steps.csv", rows)


def upload(page: Any, *files: Path) -> None:
    """Put the files into the last field of the page, which takes measurements."""
    page.get_by_text("Measurements, with the scenarios").wait_for()
    field = page.get_by_test_id("stMain").locator("input[type=file]").last
    idle(page)
    with page.expect_response("**/upload_file/**"):
        field.set_input_files(files)
    page.get_by_role("combobox", name="Predict with").wait_for()
    idle(page)


def choose(page: Any, label: str, option: str) -> None:
    """Choose an option. A list that opens while the page is drawn anew closes by itself, so it is
    opened until it stays."""
    found = page.get_by_role("option", name=option)
    for _ in range(20):
        if found.is_visible():
            break
        page.get_by_role("combobox", name=label).click()
        page.wait_for_timeout(500)
    found.click()
    idle(page)


@pytest.mark.parametrize("look", [{}, {"viewport": {"width": 390, "height": 844}}])
def test_uploaded_steps_are_drawn_beside_what_a_profile_predicts(
    open_page: Open, steps: Path, tmp_path: Path, look: dict[str, Any]
) -> None:
    page = open_page("fidelity", color_scheme="dark" if look else "light", **look)
    upload(page, steps)
    choose(page, "Predict with", LLAMA)
    before = page.get_by_test_id("stVegaLiteChart").count()
    press(page, "Predict them")
    page.get_by_text("Measured steps: 27 predicted by").wait_for()
    page.get_by_text("Step time (s)").wait_for()
    page.get_by_text("Errors by metric").wait_for()
    page.get_by_text("Outside of the profile's measurements: 9 of 27").wait_for()
    charts(page, before + 1)
    assert metric(page, "Beyond range") == "9 of 27"
    # What is shown is what the task says of the same files.
    (tmp_path / "steps.csv").write_bytes(steps.read_bytes())
    expected = judge_upload(
        tmp_path, lambda share, told: None, ("steps.csv",), Selection(), Choice(LLAMA)
    )
    assert metric(page, "Error: Step time") == percent(float(expected.errors["median"].iloc[0]))
    assert not overflows(page)


def test_a_profile_is_fitted_with_a_hold_out_and_can_be_kept(open_page: Open, steps: Path) -> None:
    page = open_page("fidelity")
    upload(page, steps)
    choose(page, "Predict with", "one fitted to a part of them")
    press(page, "Predict them")
    page.get_by_text("Measured steps: 8 predicted by fitted").wait_for()
    with page.expect_download() as kept:
        press(page, "Keep the fitted profile")
    assert '"step"' in Path(kept.value.path()).read_text(encoding="utf-8")
    page.get_by_text("The fitted figures").click()
    # Another profile makes what is shown one of earlier settings.
    choose(page, "Predict with", LLAMA)
    page.get_by_text("The settings have changed since this result").wait_for()


def test_predicting_can_be_cancelled_where_it_was_begun(open_page: Open, tmp_path: Path) -> None:
    changes = [
        {"config_id": str(number), "window_s": "3600", "adapter_rate_list_rps": "3"}
        for number in range(30)
    ]
    page = open_page("fidelity")
    upload(page, published.write_table(tmp_path / "runs.csv", *changes))
    press(page, "Predict them")
    page.get_by_text("Predicting: predicting, 1 of 30").first.wait_for()
    page.get_by_role("button", name="Cancel", exact=True).last.click()
    page.get_by_role("button", name="Cancel", exact=True).first.wait_for(state="detached")
    idle(page)
    assert page.get_by_text("Errors by metric").count() == 0
    assert page.get_by_role("button", name="Predict them").is_enabled()


def test_a_malformed_table_is_told_in_a_sentence(open_page: Open, tmp_path: Path) -> None:
    page = open_page("fidelity")
    broken = tmp_path / "broken.csv"
    broken.write_text("step_s,decode_seqs\n0.02,8\nquick,8\n", encoding="utf-8")
    upload(page, broken)
    choose(page, "Predict with", LLAMA)
    press(page, "Predict them")
    alert = page.get_by_test_id("stMain").get_by_test_id("stAlert").filter(has_text="broken.csv")
    alert.wait_for()
    assert "broken.csv:3: step_s: must be a number" in alert.inner_text()
    assert "/tmp" not in alert.inner_text()
