"""Tables that `compare` prints."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.planning.bound import Distance, distances
from simlora.planning.compare import Comparison, Line
from simlora.planning.metrics import Metric
from simlora.planning.paired import Verdict
from simlora.report import comparison_bound
from simlora.report.comparison_words import (
    MARKS,
    basis,
    change,
    change_unit,
    figure,
    same_everywhere,
    verdicts_of,
)

_STYLES = {Verdict.BETTER: "green", Verdict.WORSE: "red"}  # all others are dim
_MEAN, _CHANGE = 8, 12  # width of a metric's two columns, each followed by a space
_METRIC = _MEAN + _CHANGE + 2
_NAMES = (8, 13)  # width of the variants' names, at least and where there is little room


def comparison_tables(compared: Comparison, heading: str, width: int) -> RenderableType:
    """Blocks of as many metrics as `width` takes: a variant a row, and for each metric its mean and
    its difference to the baseline. Then the verdicts by variant, the distances from a bound if
    there is one, and what all that rests on. `heading` is what varies."""
    longest = max(len(heading), *(len(variant.name) for variant in compared.variants))
    names = min(max(longest, _NAMES[0]), max(width - 3 * _METRIC - 1, _NAMES[1]))
    same = same_everywhere(compared)
    told_apart = [metric for metric in compared.metrics if metric not in same]
    parts: list[RenderableType] = []
    for metrics in _blocks(told_apart, (width - names - 1) // _METRIC):
        parts += [_block(compared, metrics, heading, names), Text("")]
    if same:
        first = [compared.of_metric(metric)[0] for metric in same]
        told = ", ".join(f"{line.metric.title} {figure(line)}" for line in first)
        parts += [Text(f"The same in all variants: {told}."), Text("")]
    if len(compared.seeds) > 1 and told_apart:
        parts += [_verdicts(compared, heading, names), Text("")]
    found = distances(compared)
    if found:
        parts += [_bound(found, heading), Text("")]
        parts += [Text(comparison_bound.note(compared, found)), Text("")]
    return Group(*parts, Text(basis(compared)))


def _blocks(metrics: list[Metric], most: int) -> Iterator[list[Metric]]:
    """Metrics that go beside each other; those of tiers begin a new block."""
    most = max(most, 1)
    of_run = [metric for metric in metrics if not metric.of_tier]
    of_tiers = [metric for metric in metrics if metric.of_tier]
    for members in (of_run, of_tiers):
        for first in range(0, len(members), most):
            yield members[first : first + most]


def _block(compared: Comparison, metrics: list[Metric], heading: str, names: int) -> Table:
    table = _plain_table()
    table.add_column(_on_last_line(heading), overflow="fold", width=names)
    for metric in metrics:
        table.add_column("\n".join(metric.head), justify="right", width=_MEAN, overflow="ellipsis")
        table.add_column(
            f"\ndiff {change_unit(metric)}", justify="right", width=_CHANGE, no_wrap=True
        )
    columns = [compared.of_metric(metric) for metric in metrics]
    for variant, lines in zip(compared.variants, zip(*columns, strict=True), strict=True):
        cells = [cell for line in lines for cell in (figure(line), _change(line))]
        table.add_row(Text(variant.name), *cells)
    return table


def _change(line: Line) -> Text:
    if line.verdict is None:
        return Text("")
    told = f"{change(line)} {MARKS[line.verdict]}".lstrip()
    return Text(told, style=_STYLES.get(line.verdict, "dim"))


def _verdicts(compared: Comparison, heading: str, names: int) -> Table:
    """What each variant is better and worse at."""
    table = _plain_table()
    table.add_column(heading, overflow="fold", width=names)
    table.add_column(f"against {compared.baseline}", overflow="fold")
    for variant in compared.variants[1:]:
        found = verdicts_of(compared, variant.name)
        told = Text()
        for verdict, style in _STYLES.items():
            if verdict in found:
                told.append(f"{verdict.value}: ", style=f"bold {style}")
                told.append(", ".join(found[verdict]) + "\n")
        told.rstrip()
        table.add_row(Text(variant.name), told or Text(Verdict.UNCLEAR.value, style="dim"))
    return table


def _bound(found: list[Distance], heading: str) -> Table:
    """Hit ratios beside Belady's."""
    table = _plain_table()
    table.add_column(heading, overflow="fold", min_width=_NAMES[0])
    for head in comparison_bound.HEADS:
        table.add_column(f" {head}", justify="right", no_wrap=True)
    for variant, *cells in comparison_bound.rows(found):
        table.add_row(Text(variant), *(Text(cell) for cell in cells))
    return table


def _plain_table() -> Table:
    return Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=0)


def _on_last_line(head: str) -> str:
    return head if "\n" in head else f"\n{head}"
