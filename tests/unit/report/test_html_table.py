"""Tables of HTML: cells have heads that a screen reader tells, and what is wide scrolls."""

from __future__ import annotations

import re

from simlora.report.page import STYLE
from simlora.report.settings_table import facts_table, settings_table
from simlora.report.table import grouped_table, table


def test_a_row_is_named_by_its_first_cells_and_a_column_by_its_head() -> None:
    html = table("kind", ("tier", "promise", "measured"), [("gold", "TTFT", "1 s")], "A <b>")
    assert "<th scope=row>gold</th><td>TTFT</td><td>1 s</td>" in html
    assert html.count("<th scope=col>") == 3
    assert 'role=region aria-label="A &lt;b&gt;"' in html and "tabindex=0" in html
    both = table("kind", ("tier", "promise"), [("gold", "TTFT")], "Both", named_by=2)
    assert "<tr><th scope=row>gold</th><th scope=row>TTFT</th></tr>" in both


def test_a_group_of_rows_is_named_by_a_head_over_all_columns() -> None:
    groups = [("TTFT", [("a", "1"), ("b", "2")]), ("TPOT", [("a", "3")])]
    html = grouped_table("kind", ("variant", "mean"), groups, "Metrics")
    assert html.count("<tbody>") == 2 and html.count("<thead>") == 1
    assert re.findall(r"<th scope=rowgroup colspan=2>(\w+)</th>", html) == ["TTFT", "TPOT"]
    assert html.count("<th scope=row>") == 3


def test_figures_stand_to_the_right_and_names_to_the_left() -> None:
    assert re.search(r"th, td \{ text-align: right;", STYLE)
    assert re.search(r":is\(th, td\):first-child.*?\{\s*text-align: left; \}", STYLE, re.DOTALL)


def test_facts_that_all_share_take_one_row() -> None:
    html = facts_table([[("seed", "0"), ("gpu", "<a>")], [("seed", "0")]], ["one", "two"])
    assert "<th scope=row>seed</th><td>0</td>" in html
    assert "<th scope=row>gpu, one</th><td>&lt;a&gt;</td>" in html
    assert "<th scope=row>gpu, two</th><td>—</td>" in html


def test_settings_that_differ_are_told_by_keys_that_break_behind_dots() -> None:
    html = settings_table([{"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}}], ["x", "y"])
    assert "<th scope=row>a.<wbr>b</th><td>1</td><td>3</td>" in html
    assert "a.<wbr>c" not in html
    assert settings_table([{"a": 1}, {"a": 1}], ["x", "y"]) == "<p>Nothing but their names.</p>"
    many = [{f"k{i}": i * factor for i in range(1, 60)} for factor in (1, 2)]
    assert "19 more settings differ" in settings_table(many, ["x", "y"])
