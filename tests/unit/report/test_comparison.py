"""The files of a comparison."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from simlora.errors import UserError
from simlora.planning.compare import Comparison, as_json, compare_variants
from simlora.report.comparison import write_comparison
from simlora.report.comparison_figure import compared_metrics
from simlora.report.comparison_page import comparison_page
from simlora.report.comparison_words import change, summary_words
from simlora.report.limits import what_limits
from simlora.sim import simulate
from tests.unit.planning.comparing import HITS, LOADS, TTFT, judged
from tests.unit.planning.test_capacity_curves import of_policies, scenario
from tests.unit.report.reading import check_can_be_read_unseen, check_stands_alone, page_at


def compared() -> Comparison:
    return judged(
        {
            "lru": {TTFT: [1.0, 1.1, 0.9], HITS: [0.5, 0.5, 0.5], LOADS: [5.0, 6.0, 7.0]},
            "<new>": {TTFT: [1.5, 1.7, 1.4], HITS: [0.6, 0.61, 0.62], LOADS: [5.0, 6.0, 7.0]},
        }
    )


@pytest.fixture(scope="module")
def of_eviction() -> Comparison:
    return compare_variants(of_policies(scenario(), "lru", "gdsf", "belady"), 2)


def test_all_figures_are_written(tmp_path: Path) -> None:
    written = write_comparison(compared(), tmp_path / "new" / "folder")
    assert [path.name for path in written] == [
        "comparison.json",
        "comparison.parquet",
        "comparison.html",
        "comparison.png",
    ]
    assert json.loads(written[0].read_text()) == as_json(compared())
    table = pd.read_parquet(written[1])
    assert len(table) == 2 * 3 * 3
    assert list(table.columns) == ["variant", "replication", "seed", "metric", "unit", "value"]
    row = table[(table.variant == "<new>") & (table.replication == 1) & (table.metric == TTFT)]
    assert row[["seed", "value"]].to_numpy().tolist() == [[8, 1.7]]
    assert written[3].read_bytes().startswith(b"\x89PNG")


def test_the_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    write_comparison(compared(), tmp_path)
    check_stands_alone(tmp_path / "comparison.html")
    check_can_be_read_unseen(page_at(tmp_path / "comparison.html"))
    text = (tmp_path / "comparison.html").read_text()
    assert "<svg" in text
    assert "<new>" not in text
    assert "&lt;new&gt;" in text
    assert "://" not in text
    assert "no difference shown" not in re.sub(r"<figcaption>.*?</figcaption>|<p.*?</p>", "", text)
    assert "The same in all variants: adapter loads 6.00." in text


def test_the_summary_tells_what_is_better_and_worse_and_the_end_what_it_rests_on() -> None:
    told = summary_words(compared())
    assert len(told) == 1
    assert told[0].startswith("<new> against lru: ")
    assert "better in adapter hits" in told[0] and "worse in TTFT p99" in told[0]
    alike = judged({"a": {TTFT: [1.0, 1.1]}, "b": {TTFT: [1.1, 1.0]}})
    assert summary_words(alike) == ["b against a: no difference shown."]
    single = judged({"a": {TTFT: [1.0]}, "b": {TTFT: [2.0]}})
    assert summary_words(single) == ["b against a: one replication cannot tell."]
    end = comparison_page(compared(), []).split("<h2>Provenance</h2>")[1]
    assert re.search(r"<th scope=row>scenario</th><td>\w+ \([0-9a-f]{16}\)", end)
    assert "<th scope=row>error of the profile</th><td>none stated" in end


def test_what_limits_each_variant_is_told_before_the_figures(
    of_eviction: Comparison, tmp_path: Path
) -> None:
    write_comparison(of_eviction, tmp_path)
    text = (tmp_path / "comparison.html").read_text()
    start = text.index("<h2>What limits each variant</h2>")
    limits = text[start : text.index("<h2>Figures</h2>")]
    assert re.findall(r"<h3>(.*?)</h3>", limits) == ["lru", "gdsf", "belady"]
    assert f"seed {of_eviction.seeds[0]}" in limits
    assert limits.count("Some request was being served") == 3  # the evidence of each
    assert "<th scope=row>extrapolates</th>" in text[text.index("<h2>Provenance</h2>") :]


def test_what_limits_is_that_of_the_first_replication_of_each_variant() -> None:
    variants = of_policies(scenario(), "lru", "belady")
    first, second, *later = compare_variants(variants, 2, seed=5).runs
    result = simulate(variants[1].scenario.with_overrides({"seed": 5}))
    assert second.limits == tuple(what_limits(result))
    assert first.limits != second.limits
    assert [run.limits for run in later] == [(), ()]


def test_a_row_of_provenance_stands_for_all_variants_or_for_one() -> None:
    two = judged({"slow": {TTFT: [1.0]}, "fast": {TTFT: [2.0]}})
    other = two.variants[1].scenario.with_overrides({"engine.max_num_seqs": 7})
    two = replace(two, variants=(two.variants[0], replace(two.variants[1], scenario=other)))
    text = comparison_page(two, [])
    assert "<th scope=row>scenario, slow</th>" in text and "<th scope=row>scenario, fast" in text
    assert "<th scope=row>timing profile</th>" in text
    asked = text[text.index("<h2>What was asked differently</h2>") :]
    assert "<th scope=row>engine.<wbr>max_num_seqs</th>" in asked
    assert "<td>7</td>" in asked


def test_a_metric_that_nobody_shares_with_the_baseline_has_no_panel() -> None:
    apart = judged({"a": {TTFT: [1.0, 2.0], HITS: [0.5, 0.6]}, "b": {TTFT: [2.0, 3.5]}})
    assert [metric.key for metric in compared_metrics(apart)] == [TTFT]


def test_a_large_factor_has_no_exponent() -> None:
    many = judged({"a": {LOADS: [1.0, 1.0]}, "b": {LOADS: [3000.0, 3500.0]}})
    (line,) = [one for one in many.lines if one.variant == "b" and one.metric.key == LOADS]
    assert change(line) == "×3,250"


@pytest.mark.parametrize("figures", [{TTFT: [1.0]}, {TTFT: [1.0, 1.0]}, {TTFT: [0.0, 2.0]}])
def test_little_to_show_is_no_mistake(figures: dict[str, list[float]], tmp_path: Path) -> None:
    write_comparison(judged({"a": figures, "b": figures}), tmp_path)


def test_without_a_whole_replication_there_is_no_page(tmp_path: Path) -> None:
    write_comparison(compared(), tmp_path)
    partial = judged({"a": {TTFT: [1.0, 2.0]}, "b": {}, "c": {TTFT: [1.0]}}, interrupted=True)
    written = write_comparison(partial, tmp_path)
    assert [path.name for path in written] == ["comparison.json", "comparison.parquet"]
    assert len(pd.read_parquet(written[1])) == 3


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write there"):
        write_comparison(compared(), tmp_path / "file")


LIMITS = "What limits each variant"
LAST = ("Metrics", "What was asked differently", "Assumptions", "Provenance")
HEADS = ("Differences", "Eviction policy and size of the hot tier", "Busy and quiet tenants")


def test_a_comparison_of_policies_has_the_bound_and_curves(
    of_eviction: Comparison, tmp_path: Path
) -> None:
    written = [path.name for path in write_comparison(of_eviction, tmp_path)]
    assert written[-2:] == ["curves.png", "ranks.png"]
    for name in written[-3:]:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "comparison.html").read_text()
    heads = re.findall(r"<h2>(.*?)</h2>", text)
    assert heads == ["Summary", LIMITS, "Figures", "Distance from the bound", *LAST]
    assert re.findall(r"<h3>(.*?)</h3>", text)[3:] == list(HEADS)
    assert text.count("<svg") == 3
    assert "<td>the bound</td>" in text
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told["bound"]["variants"]["lru"]["distance"] < 0

    # What a comparison of something else leaves out goes.
    write_comparison(compared(), tmp_path)
    assert not (tmp_path / "curves.png").exists()
    assert not (tmp_path / "ranks.png").exists()
    text = (tmp_path / "comparison.html").read_text()
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Summary", LIMITS, "Figures", *LAST]
    assert re.findall(r"<h3>(.*?)</h3>", text) == ["lru", "&lt;new&gt;", "Differences"]


def test_an_interrupted_comparison_begins_no_curves(
    of_eviction: Comparison, tmp_path: Path
) -> None:
    written = write_comparison(replace(of_eviction, interrupted=True), tmp_path)
    assert [path.name for path in written][-2:] == ["comparison.png", "ranks.png"]
    text = (tmp_path / "comparison.html").read_text()
    assert HEADS[1] not in text


def test_figures_of_one_page_have_ids_of_their_own(of_eviction: Comparison, tmp_path: Path) -> None:
    write_comparison(of_eviction, tmp_path)
    drawings = (tmp_path / "comparison.html").read_text().split("<svg")[1:]
    ids = [set(re.findall(r' id="(m[0-9a-f]{8,}|p[0-9a-f]{8,})"', each)) for each in drawings]
    assert all(ids)
    assert sum(map(len, ids)) == len(set().union(*ids))
