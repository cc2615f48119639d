"""The fidelity page: how far predictions are to be trusted, in the order of all reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from simlora.timing.profile import load_profile
from simlora.validation.fidelity import fidelity
from simlora.validation.profiles import profiles_for
from simlora.validation.report import write_fidelity
from simlora.validation.rows import read_runs
from simlora.validation.runner import Outcome, Settings, predict_runs
from tests.unit.report.reading import (
    check_can_be_read_unseen,
    check_order,
    check_stands_alone,
    page_at,
)
from tests.unit.validation.runs import REFUSED, write_table


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sequence[Outcome], dict[str, Any]]:
    runs = read_runs(write_table(tmp_path_factory.mktemp("runs") / "runs.csv", {}, REFUSED))
    settings = Settings(profiles_for(runs, ()), 0)
    outcomes = predict_runs(runs, settings)
    return outcomes, fidelity(outcomes, settings, "folder/runs.csv", 1.0)


@pytest.fixture(scope="module")
def path(
    predicted: tuple[Sequence[Outcome], dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_fidelity(*predicted, tmp_path_factory.mktemp("out"))[-1]


def test_the_page_stands_alone_and_its_figure_is_told_in_words(path: Path) -> None:
    check_stands_alone(path)
    page = page_at(path)
    check_can_be_read_unseen(page)
    (figure,) = page.all("svg")
    for part in ("Predicted and measured", "Throughput", "predicted, tokens/s", "underloaded"):
        assert part in (figure["aria-label"] or "")


def test_the_verdict_comes_first_and_what_it_rests_on_last(path: Path) -> None:
    page = page_at(path)
    order = ("What limits these predictions", "Figures", "Assumptions", "Provenance")
    check_order(page, "Summary", *order)
    assert page.heads[0] == (1, "Fidelity on runs.csv")


def test_the_opening_counts_the_bounds_that_are_kept(
    path: Path, predicted: tuple[Sequence[Outcome], dict[str, Any]]
) -> None:
    verdicts = [bar["met"] for bar in predicted[1]["bars"] if bar["met"] is not None]
    opening = path.read_text("utf-8").split("<p class=opening>")[1].split("</p>")[0]
    assert f"keep {sum(verdicts)} of {len(verdicts)} bounds" in opening
    for bar in predicted[1]["bars"]:
        assert (bar["name"] in opening) == (bar["met"] is False)


def test_the_profiles_are_told_with_their_own_errors(
    path: Path, predicted: tuple[Sequence[Outcome], dict[str, Any]]
) -> None:
    end = path.read_text("utf-8").split("<h2>Provenance</h2>")[1]
    for model, name in predicted[1]["profiles"].items():
        profile = load_profile(name)
        assert f"<th scope=row>its error, {model}</th>" in end
        assert f"{profile.name} of {profile.provenance.date}" in end
    assert "on measurements it was not fitted to" in end
