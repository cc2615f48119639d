"""Tables that `validate --recipe` prints."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from simlora.report.words import share
from simlora.validation.fidelity import Bar, Line, percent, signed_percent
from simlora.validation.metrics import LABELS


def bar_table(bars: list[Bar]) -> Table:
    """Each figure, what is asked of it, and whether it is kept."""
    table = _plain_table("figure")
    for head in ("value", "asked", ""):
        table.add_column(head, justify="right" if head else "left", no_wrap=True)
    for bar in bars:
        verdict, style = {
            True: ("met", "green"),
            False: ("missed", "bold red"),
            None: ("not measured", ""),
        }[bar.met]
        sign = "≥" if bar.at_least else "≤"
        table.add_row(
            bar.name, share(bar.value), f"{sign} {share(bar.bound)}", Text(verdict, style=style)
        )
    return table


def error_table(lines: list[Line]) -> Table:
    """Errors by metric and regime."""
    table = _plain_table("metric")
    table.add_column("runs")
    for head in ("n", "median", "mean", "bias", "SMAPE"):
        table.add_column(head, justify="right", no_wrap=True)
    metric = ""
    for line in lines:
        if metric and line.metric != metric:
            table.add_section()
        found = line.errors
        table.add_row(
            LABELS[line.metric] if line.metric != metric else "",
            line.runs.replace("_", " "),
            str(found.count),
            percent(found.median_error),
            percent(found.mean_error),
            signed_percent(found.bias),
            percent(found.smape),
        )
        metric = line.metric
    return table


def _plain_table(first: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    return table
