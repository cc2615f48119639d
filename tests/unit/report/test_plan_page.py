"""The page of a plan: the fleet first, what limits it, what else there is, what that rests on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from simlora.planning.plan import Plan, peak_of, plan
from simlora.planning.search import words
from simlora.planning.search.growth import Growth
from simlora.report.limits import what_limits
from simlora.report.plan_figure import alternatives
from simlora.report.plan_page import peak_page, plan_page
from simlora.report.style import styled
from simlora.sim import simulate
from tests.unit.planning.planned import planned
from tests.unit.report.reading import (
    Page,
    check_can_be_read_unseen,
    check_order,
    check_stands_alone,
)

ORDER = ("Summary", "What limits this fleet", "Figures", "Assumptions", "Provenance")


@pytest.fixture(scope="module")
def found() -> Plan:
    return plan(planned(), what_if=[Growth(load=2)])


@pytest.fixture(scope="module")
def text(found: Plan) -> str:
    return plan_page(found)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "report.html"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_page_stands_alone_and_can_be_read_unseen(
    text: str, written: Callable[[str], Path]
) -> None:
    check_can_be_read_unseen(Page(text))
    check_stands_alone(written(text))


def test_the_fleet_and_its_price_come_first_and_what_they_rest_on_last(
    found: Plan, text: str
) -> None:
    assert found.best is not None
    page = Page(text)
    check_order(page, *ORDER)
    summary = text[: text.index("<h2>What limits this fleet</h2>")]
    assert found.best.name in summary and f"${found.best.usd_per_month:,.0f} a month" in summary
    assert summary.count("<tr><th scope=row>") == len(found.best.confirmation.evidence) == 3
    end = text[text.index("<h2>Provenance</h2>") :]
    for row in ("scenario", "seeds of the search", "error of the profile", "extrapolates"):
        assert f"<th scope=row>{row}</th>" in end


def test_what_breaks_first_and_what_limits_the_fleet_are_told(found: Plan, text: str) -> None:
    assert found.best is not None and found.peak is not None and found.peak.first is not None
    limits = text[text.index("<h2>What limits this fleet</h2>") : text.index("<h2>Figures</h2>")]
    assert found.peak.first.promise.name in limits
    verdict = what_limits(simulate(found.best.scenario))[0]
    assert verdict.split(":")[0] in limits


def test_the_alternatives_are_drawn_and_listed_cheapest_first(found: Plan, text: str) -> None:
    assert "Fleets that meet every promise" in [title for _, title in Page(text).heads]
    table = text[text.index("<h2>Alternatives</h2>") : text.index("<h2>What if</h2>")]
    prices = [int(told.replace(",", "")) for told in re.findall(r"<td>\$([\d,]+)</td>", table)]
    assert len(prices) > 1 and prices == sorted(prices)
    with styled():
        figure = alternatives(found.by_gpu, [found.front[0].name])
    marks = np.concatenate([np.atleast_1d(m.get_xdata()) for m in figure.axes[0].get_lines()])
    assert sorted(marks.tolist()) == [fleet.usd_per_month for fleet in found.by_gpu]
    assert figure.axes[0].get_xlabel() == "USD a month"


def test_without_a_fleet_the_page_tells_why_and_draws_nothing(
    written: Callable[[str], Path],
) -> None:
    none = plan(planned(tiers__gold__sla__ttft_p99_s=0.01, plan__gpus=["l40s"]))
    text = plan_page(none)
    check_stands_alone(written(text))
    check_order(Page(text), *(title for title in ORDER if title != "Figures"))
    assert "<svg" not in text
    first, *rest = words.infeasible(none)
    assert first in text and rest
    assert "promised within 10 ms" in text.replace("&nbsp;", " ")
    assert "<th scope=row>error of the profile</th>" in text


def test_the_peak_of_a_fleet_has_a_page_of_its_own(written: Callable[[str], Path]) -> None:
    scenario = planned(fleet__0__gpu="h100-80gb", engine__memory__max_loras=32)
    text = peak_page(peak_of(scenario), scenario)
    check_stands_alone(written(text))
    check_can_be_read_unseen(Page(text))
    check_order(Page(text), *ORDER)
    assert "times the load" in text.split("<h2>What limits this fleet</h2>")[0]
