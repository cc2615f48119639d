"""Figures over time: which are shown, and that they show what the requests tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from simlora.errors import UserError
from simlora.report import figures, style, write_report
from simlora.report.asked import read_asked, told_over_time
from simlora.report.fleet_figure import replicas_over_time, without_first_token
from simlora.report.gauges import pressure
from simlora.report.over_time import figures_over_time
from simlora.report.tiers_over_time import latency_over_time, refusals_over_time
from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import PoolFacts
from simlora.serving.request import REJECTED, WAITING, Request
from tests.unit.results.recorded import POOL_PAGES, completed, deployment, ended, facts, record

SPAN_S = 120.0
EVENTS = [{"at_s": 30.0, "duration_s": 30.0, "crash": 0}]


@pytest.fixture(autouse=True)
def drawn_for_a_page() -> Iterator[None]:
    with style.styled():
        yield


def steady(tenant: int = 0, **change: Any) -> list[Request]:
    """Ten requests a second."""
    return [completed(deployment(), i, i / 10, tenant, **change) for i in range(1200)]


def panel(figure: Figure, title: str) -> Axes:
    (found,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return found


def line(axes: Axes, label: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    (found,) = [each for each in axes.get_lines() if each.get_label() == label]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def sampled(directory: Path, up: list[int], **fields: Any) -> Result:
    """Two replicas; the first is up as told, an instant each second."""
    of = deployment(**fields)
    recorder = Recorder(of, directory, warmup_s=0.0)
    recorder.pending += steady()
    for second, first_is_up in enumerate(up):
        for replica, is_up in ((0, first_is_up), (1, 1)):
            pages = (30_000, 0, 0, POOL_PAGES - 30_000, 4) if is_up else (0, 0, 0, 0, 0)
            recorder.sample(float(second), replica, 2 * is_up, 0, *pages, is_up)
    pools = of.scenario.fleet
    span_s = float(len(up))
    told = tuple(
        PoolFacts(pool.gpu, pool.replicas, 1, 4.0, span_s * pool.replicas) for pool in pools
    )
    return recorder.close(facts(span_s, fleet=told))


def test_what_has_nothing_to_tell_is_not_drawn(tmp_path: Path) -> None:
    of = deployment()
    plain = record(of, tmp_path / "plain", steady(), SPAN_S)
    assert not told_over_time(plain)

    def titles(name: str, requests: list[Request], **fields: Any) -> list[str]:
        result = record(deployment(**fields), tmp_path / name, requests, SPAN_S)
        assert told_over_time(result)
        return [title for title, _, _ in figures_over_time(result, read_asked(result))]

    refused = [ended(of, 1200, 1.0, 0, REJECTED)]
    assert titles("tiers", steady() + steady(7)) == ["Latency over time"]
    assert titles("event", steady(), events=EVENTS) == ["Latency over time"]
    assert titles("refused", steady() + refused) == ["Turned away or failed, over time"]


def test_replicas_are_drawn_where_they_changed_or_might_have(tmp_path: Path) -> None:
    scaled = [{"gpu": "h100-80gb", "replicas": 2, "autoscale": {"min": 1}}]

    def drawn(result: Result) -> bool:
        chosen = figures_over_time(result, read_asked(result))
        return "Replicas over time" in [title for title, _, _ in chosen]

    assert not drawn(sampled(tmp_path / "a", [1] * 9))
    assert drawn(sampled(tmp_path / "b", [1] * 4 + [0] * 5))
    assert drawn(sampled(tmp_path / "c", [1] * 9, fleet=scaled))


def test_latency_is_that_of_the_requests_that_came_at_the_time(tmp_path: Path) -> None:
    requests = steady()
    for request in requests:
        if 30 <= request.arrival_s < 60:
            request.queue_s += 4.0
            request.first_token_s += 4.0
            request.finish_s += 4.0
    result = record(deployment(events=EVENTS), tmp_path, requests, SPAN_S)
    figure = latency_over_time(result, read_asked(result))
    axes = panel(figure, "time to first token, tier platinum")
    for percentile in ("p50", "p99"):
        at_s, ttft_s = line(axes, percentile)
        hit = (at_s > 30) & (at_s < 60)
        assert ttft_s[hit] == pytest.approx(4.04)
        assert ttft_s[~hit] == pytest.approx(0.04)
    assert set(line(axes, "promised p99")[1]) == {0.5}
    assert "crash: replica 0" in [text.get_text() for text in axes.texts]


def test_requests_without_a_first_token_leave_the_latency_of_others_where_it_is(
    tmp_path: Path,
) -> None:
    slow = [r for r in steady(queue_s=4.0) if r.arrival_s < 60]
    fast = [r for r in steady() if r.arrival_s >= 60]
    refused = [ended(deployment(), 1200 + i, i / 10, 0, REJECTED) for i in range(0, 1200, 3)]
    requests = sorted([*slow, *fast, *refused], key=lambda request: request.index * 7919 % 2503)
    result = record(deployment(), tmp_path, requests, SPAN_S)
    figure = latency_over_time(result, read_asked(result))
    at_s, ttft_s = line(panel(figure, "time to first token, tier platinum"), "p99")
    assert ttft_s[at_s < 60] == pytest.approx(4.04)
    assert ttft_s[at_s > 60] == pytest.approx(0.04)


def test_every_tier_has_a_panel_of_its_own(tmp_path: Path) -> None:
    result = record(deployment(), tmp_path, steady() + steady(7, queue_s=1.0), SPAN_S)
    figure = latency_over_time(result, read_asked(result))
    assert line(panel(figure, "time to first token, tier free"), "p50")[1] == pytest.approx(1.04)
    platinum = panel(figure, "time to first token, tier platinum")
    assert line(platinum, "p50")[1] == pytest.approx(0.04)
    assert not panel(figure, "time to first token, tier free").texts  # no event, no label


def test_of_many_tiers_those_with_most_requests_are_shown(tmp_path: Path) -> None:
    names = [f"t{n}" for n in range(8)]
    of = deployment(
        tenants=[{"name": name, "tier": name} for name in names],
        tiers={name: {} for name in names},
    )
    counts = (5, 9, 8, 1, 7, 6, 4, 2)
    requests = [completed(of, n, 1.0, n % 8) for n in range(8 * 9) if n // 8 < counts[n % 8]]
    result = record(of, tmp_path, requests, SPAN_S)
    ((_, caption, make),) = figures_over_time(result, read_asked(result))
    titles = [axes.get_title(loc="left") for axes in make(result).axes[:-1]]
    assert [title[-2:] for title in titles] == ["t0", "t1", "t2", "t4", "t5", "t6"]
    assert "the 6 tiers with most requests" in caption


def test_refusals_are_shares_of_those_who_came_at_the_time(tmp_path: Path) -> None:
    of = deployment()
    refused = [ended(of, 1200 + i, 60.0 + i / 10, 7, REJECTED) for i in range(300)]
    requests = steady() + steady(7) + refused  # half of those of tier free, for half a minute
    result = record(of, tmp_path, requests, SPAN_S)
    figure = refusals_over_time(result, read_asked(result))
    (axes,) = figure.axes  # tier platinum lost nobody
    bars = [bar for bar in axes.patches if isinstance(bar, Rectangle)]
    begins = np.array([bar.get_x() for bar in bars])
    heights = np.array([bar.get_height() for bar in bars])
    hit = (begins > 60) & (begins < 87)
    assert heights[hit] == pytest.approx(50.0, abs=2.0)
    assert not heights[(begins < 57) | (begins > 90)].any()


def test_requests_wait_for_their_first_token_wherever_they_are(tmp_path: Path) -> None:
    of = deployment()
    requests = [
        completed(of, 0, 1.0, queue_s=4.0, prefill_s=1.0),
        ended(of, 1, 2.0, 0, REJECTED),  # at once
        ended(of, 2, 3.0, 0, WAITING),  # for ever
    ]
    asked = read_asked(record(of, tmp_path, requests, 10.0))
    waiting = without_first_token(asked, np.array([0.5, 1.5, 3.5, 5.9, 6.1, 10.0]))
    assert waiting.tolist() == [0, 1, 2, 2, 1, 1]


def test_replicas_up_are_stacked_by_pool(tmp_path: Path) -> None:
    fleet = [{"name": name, "gpu": "h100-80gb"} for name in ("a", "b")]
    result = sampled(tmp_path, [1] * 30 + [0] * 30 + [1] * 60, fleet=fleet)
    axes = panel(replicas_over_time(result, read_asked(result)), "replicas up")
    (outline,) = [each for each in axes.get_lines() if len(np.asarray(each.get_xdata())) > 2]
    at_s, up = np.asarray(outline.get_xdata(), float), np.asarray(outline.get_ydata(), float)
    assert set(up[(at_s >= 30) & (at_s < 60)]) == {1.0}
    assert set(up[(at_s < 30) | (at_s >= 60)]) == {2.0}
    tops = [float(area.get_datalim(axes.transData).y1) for area in axes.collections]
    assert tops == [1.0, 2.0]
    known = axes.get_legend()
    assert known is not None
    assert [text.get_text() for text in known.texts] == ["a", "b"]


def test_every_figure_over_time_names_what_happened(tmp_path: Path) -> None:
    result = sampled(tmp_path, [1] * 120, events=EVENTS)
    for make in (figures.load_over_time, figures.memory_over_time, figures.adapters):
        figure = make(result)
        labels = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert labels.count("crash: replica 0") == 1
        known = [t.get_text() for axes in figure.axes if (g := axes.get_legend()) for t in g.texts]
        assert not [text for text in known if text.startswith("_")]
    plain = figures.load_over_time(sampled(tmp_path / "plain", [1] * 120))
    assert not [axes.patches for axes in plain.axes if axes.patches]


def test_labels_that_would_overlap_stand_one_above_the_other(tmp_path: Path) -> None:
    crashes = [{"at_s": s, "duration_s": 5.0, "crash": 0} for s in (10.0, 11.0, 12.0, 13.0, 90.0)]
    result = sampled(tmp_path, [1] * 120, events=crashes)
    (axes, *others) = figures.load_over_time(result).axes
    rows = [text.xyann[1] for text in axes.texts]  # type: ignore[attr-defined]
    assert len(rows) == 4  # the fourth has no room
    assert len({*rows[:3]}) == 3
    assert rows[3] == rows[0]
    assert [len(each.patches) for each in (axes, *others)] == [5, 5, 5]


def test_a_replica_that_is_not_there_has_no_full_pool(tmp_path: Path) -> None:
    assert pressure(sampled(tmp_path, [1] * 5 + [0] * 5)).filled == pytest.approx(0.03)


def test_requests_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    result = record(deployment(), tmp_path, steady() + steady(7), SPAN_S)
    (tmp_path / "requests.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match="cannot be read as the Parquet table of a run"):
        write_report(result)
