"""Each tenant's latency and attainment, drawn for few tenants and for many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from simlora.report import style
from simlora.report.tenant_figures import tenants_in_order
from simlora.results.result import Result
from tests.unit.results.recorded import completed, deployment, record


def drawn(result: Result) -> tuple[Figure, str]:
    with style.styled():
        figure = tenants_in_order(result)
    return figure, style.to_svg(figure, "test")


def run(directory: Path, pro: int, free: int) -> Result:
    """Two requests a tenant; a tenant waits longer the later it comes."""
    of = deployment(pro, free)
    count = pro + free
    requests = [
        completed(of, i, 0.0, i % count, queue_s=0.6 * (i % count) / pro) for i in range(2 * count)
    ]
    return record(of, directory, requests, 100.0)


def test_few_tenants_have_a_line_each_the_slowest_first(tmp_path: Path) -> None:
    figure, svg = drawn(run(tmp_path, 3, 7))
    ttft, attainment = figure.axes
    names = [label.get_text() for label in ttft.get_yticklabels()]
    assert names == [f"free-{i:04d}" for i in reversed(range(7))] + [
        f"pro-{i:04d}" for i in reversed(range(3))
    ]
    assert all(name in svg for name in names)
    assert {line.get_label(): np.size(line.get_xdata()) for line in ttft.get_lines()} == {
        "platinum": 3,
        "free": 7,
    }
    (platinum,) = (line for line in attainment.get_lines() if line.get_label() == "platinum")
    assert list(np.asarray(platinum.get_xdata())) == pytest.approx([1.0, 1.0, 1.0])


def test_many_tenants_are_a_curve_a_tier_of_few_points(tmp_path: Path) -> None:
    result = run(tmp_path, 1000, 9000)
    figure, svg = drawn(result)
    ttft, attainment = figure.axes
    platinum, promise, free = ttft.get_lines()
    assert (platinum.get_label(), free.get_label()) == ("platinum", "free")
    assert promise.get_label() == "promised to platinum"
    assert set(np.asarray(promise.get_ydata()).tolist()) == {0.5}
    for line, count in ((platinum, 1000), (free, 9000)):
        ranks, values = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
        assert len(ranks) <= 300
        assert (ranks[0], ranks[-1]) == (1, count)
        assert (np.diff(values) <= 0).all()
        p99_s = result.tenants.loc[result.tenants["tier"] == line.get_label(), "ttft_p99_s"]
        assert (values[0], values[-1]) == (p99_s.max(), p99_s.min())
    (curve,) = attainment.get_lines()
    assert (np.diff(np.asarray(curve.get_ydata())) >= 0).all()
    assert len(svg) < 200_000
    assert "pro-0000" not in svg


def test_without_promises_there_is_no_panel_for_them(tmp_path: Path) -> None:
    of = deployment(tiers={"platinum": {}, "free": {}})
    for count in (4, 25):
        requests = [completed(of, i, 0.0, i, queue_s=i / 10) for i in range(count)]
        figure, _ = drawn(record(of, tmp_path / str(count), requests, 10.0))
        assert len(figure.axes) == 1


def test_a_tenant_of_whom_no_request_completed_is_no_mark(tmp_path: Path) -> None:
    of = deployment()
    figure, _ = drawn(record(of, tmp_path, [completed(of, 0, 0.0, 6)], 10.0))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["free-0001"]
