"""Which figures over time a report shows beside the timeline's, with their captions."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from simlora.report import fleet_figure, tiers_over_time
from simlora.report.asked import Asked, fleet_changes
from simlora.report.fleet_words import rented_words
from simlora.report.moments import is_marked
from simlora.results.result import Result

Chosen = tuple[str, str, Callable[[Result], Figure]]  # title, caption, what draws it

_LATENCY = (
    "Median and 99th percentile of the requests that arrived in each interval; of few requests the "
    "99th percentile is the slowest one. Requests without a first token have no mark."
)
_REFUSALS = (
    "Of the requests that arrived in each interval, those that were turned away (rejected) or "
    "failed later."
)
_REPLICAS = (
    "Replicas that could serve, by pool; and the requests that had come and had neither a first "
    "token nor an end yet, wherever they waited."
)
_MARKS = " Shaded: what happened, from its beginning to its end."


def figures_over_time(result: Result, asked: Asked) -> list[Chosen]:
    """Those that have something to tell of this run, in which some requests completed."""
    marked = is_marked(result.summary)
    tiers = sum(tier["requests"]["offered"] > 0 for tier in result.summary["tiers"].values())
    most = tiers_over_time.MOST_PANELS
    few = f" Shown are the {most} tiers with most requests." if tiers > most else ""
    chosen: list[tuple[str, str, Callable[[Result, Asked], Figure]]] = []
    if tiers > 1 or marked:
        chosen.append(("Latency over time", _LATENCY + few, tiers_over_time.latency_over_time))
    if tiers_over_time.refused_tiers(result, asked):
        title = "Turned away or failed, over time"
        chosen.append((title, _REFUSALS + few, tiers_over_time.refusals_over_time))
    if fleet_changes(result.summary) and "up" in result.timeline and len(result.timeline):
        told = rented_words(result.summary)
        caption = f"{_REPLICAS} {told}." if told else _REPLICAS
        chosen.append(("Replicas over time", caption, fleet_figure.replicas_over_time))
    marks = _MARKS if marked else ""
    return [(title, caption + marks, _of(make, asked)) for title, caption, make in chosen]


def _of(make: Callable[[Result, Asked], Figure], asked: Asked) -> Callable[[Result], Figure]:
    return lambda result: make(result, asked)
