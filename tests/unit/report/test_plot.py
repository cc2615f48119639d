"""A figure on a page, in words, and as a file."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from PIL import Image

from simlora.cost.analysis import costs
from simlora.errors import UserError
from simlora.report.cost_figures import cost_by_tenant
from simlora.report.plot import FORMATS, Format, Plot, embedded, in_words, write_plots
from simlora.report.style import new_figure, styled
from simlora.sim import simulate
from tests.simulating import small_scenario


def drawn() -> Figure:
    figure = new_figure()
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [3, 4], label="gold <1>")
    left.set_title("requests running")
    left.set_xlabel("time (seconds)")
    left.legend()
    right.barh([0, 1], [1, 2])
    right.set_yticks([0, 1], ["hot", "warm"])
    right.set_title("adapter found in")
    return figure


PLOT = Plot("Load, over <time>", "What it & its parts mean.", drawn)


def test_words_for_a_figure_name_its_panels_axes_series_and_rows() -> None:
    with styled():
        told = in_words("Load", drawn())
    assert told == (
        "Load. requests running, time (seconds), series gold <1>; adapter found in, rows hot, warm."
    )


def test_a_figure_on_a_page_has_words_a_caption_and_no_address() -> None:
    html = embedded(PLOT, "salt", level=4)
    assert "<h4>Load, over &lt;time&gt;</h4>" in html
    assert "<figcaption>What it &amp; its parts mean.</figcaption>" in html
    assert re.search(r'<svg role="img" aria-label="Load, over &lt;time&gt;\. requests', html)
    assert "://" not in html and "xlink" not in html
    ElementTree.fromstring(re.findall(r"<svg.*</svg>", html, re.DOTALL)[0])


@pytest.mark.parametrize("kind", FORMATS)
def test_files_have_the_titles_as_names_and_the_same_bytes_each_time(
    kind: Format, tmp_path: Path
) -> None:
    (path,) = write_plots([PLOT], tmp_path / "new" / "folder", kind)
    assert path.name == f"load-over-time.{kind}"
    first = path.read_bytes()
    assert write_plots([PLOT], path.parent, kind) == [path]
    assert path.read_bytes() == first
    if kind == "png":
        with Image.open(path) as image:
            assert image.width > 1000
            assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    else:
        assert ElementTree.fromstring(first).tag.endswith("svg")
        assert b"#010203" not in first and b"var(" not in first


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write figures there"):
        write_plots([PLOT], tmp_path / "file")


def test_prices_within_a_decade_are_labelled_in_dollars_and_tenants_by_whole_numbers(
    tmp_path: Path,
) -> None:
    scenario = small_scenario(
        workload={"rate_rps": 2.0, "duration_s": 20},
        tiers={"standard": {"price_usd_month": 50.0}},
    )
    result = simulate(scenario, out=tmp_path / "run")
    with styled():
        figure = cost_by_tenant(costs(result, scenario))
        figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    shown = [t for t in axes.yaxis.get_majorticklabels() if low <= t.get_position()[1] <= high]
    assert all(place == round(place) for place in axes.get_xticks())
    assert len(shown) >= 2
    assert all(text.get_text().startswith("$") for text in shown)
    assert not any(text.get_text() for text in axes.yaxis.get_minorticklabels())
