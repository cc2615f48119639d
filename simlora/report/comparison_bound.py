"""How far variants are from the bound, in words, rows and a table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from simlora.planning.bound import Distance
from simlora.planning.compare import Comparison
from simlora.planning.paired import Difference
from simlora.report.comparison_words import signed
from simlora.report.table import table as frame

HEADS = ("adapter hits, %", "from belady, pt")
THE_BOUND = "the bound"


def note(compared: Comparison, found: Sequence[Distance]) -> str:
    """What the distances rest on."""
    paired = " and like it in all else" if sum(line.is_bound for line in found) > 1 else ""
    lonely = [line.variant for line in found if line.bound is None]
    alone = f" No belady is like {', '.join(lonely)} in all else." if lonely else ""
    several = any(line.hit_ratio.low is not None for line in found)
    fleets = [sum(p.replicas for p in variant.scenario.fleet) for variant in compared.variants]
    where = (
        ", nor does it know at which of several replicas an adapter is asked for next"
        if max(fleets) > 1
        else ""
    )
    mean = "Means ± their 95 % t-intervals; " if several else ""
    return (
        f"{mean}pt: percentage points of hit ratio, variant less belady on the same requests"
        f"{paired}. Belady evicts what is asked for last, and no policy misses less among "
        f"adapters of one size; but it cannot evict what is in use{where}, so that a variant may "
        f"come out above it.{alone}"
    )


def rows(found: Sequence[Distance]) -> list[tuple[str, str, str]]:
    """Variant, hit ratio in percent, and distance in percentage points."""
    return [(line.variant, _percent(line.hit_ratio), _distance(line)) for line in found]


def table(found: Sequence[Distance]) -> str:
    """The rows as an HTML table."""
    cells = [tuple(map(escape, row)) for row in rows(found)]
    return frame("bound", ("variant", *map(escape, HEADS)), cells, "Distance from the bound")


def _percent(ratio: Difference) -> str:
    return "—" if ratio.mean is None else _with_margin(ratio, f"{100 * ratio.mean:.1f}")


def _distance(line: Distance) -> str:
    if line.is_bound:
        return THE_BOUND
    distance = line.distance
    if distance is None or distance.mean is None:
        return "—"
    points = 100 * distance.mean
    # A policy may come so close that tenths of a point would hide on which side it is.
    return _with_margin(distance, signed(points, 1 if abs(points) >= 0.1 else 2))


def _with_margin(value: Difference, told: str) -> str:
    if value.high is None or value.mean is None:
        return told
    margin = 100 * (value.high - value.mean)
    digits = len(told.partition(".")[2])
    return f"{told} ±{margin:.{digits}f}"
