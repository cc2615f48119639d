"""What came of each event and burst of a run: the rows of a table."""

from __future__ import annotations

import numpy as np

from simlora.report.asked import Asked
from simlora.report.happenings import Happening, happenings
from simlora.report.words import duration, moment, share, tick
from simlora.results.arrays import Bools
from simlora.results.result import Result

HEADS = ("event", "at", "for", "requests", "turned away or failed", "TTFT p99")


def happening_rows(result: Result, asked: Asked) -> list[tuple[str, ...]]:
    """A row for each, of the requests that arrived while it lasted, under `HEADS`; then one of all
    other requests. Empty if nothing happened."""
    found = happenings(result.summary)
    if not found:
        return []
    during = [_during(happening, asked) for happening in found]
    rows = [
        (
            happening.told,
            moment(happening.at_s),
            tick(happening.duration_s),
            *_figures(asked, rows),
            _ttft_p99(asked, rows),
        )
        for happening, rows in zip(found, during, strict=True)
    ]
    others = ~np.logical_or.reduce(during)
    return [
        *rows,
        ("none of these", "", "", *_figures(asked, others), _ttft_p99(asked, others)),
    ]


def _during(happening: Happening, asked: Asked) -> Bools:
    rows: Bools = (asked.arrival_s >= happening.at_s) & (asked.arrival_s < happening.end_s)
    return rows


def _figures(asked: Asked, rows: Bools) -> tuple[str, str]:
    """Requests, and the share of them that was turned away or failed."""
    count, refused = int(rows.sum()), int((rows & (asked.cause >= 0)).sum())
    return f"{count:,}", share(refused / count) if count else "—"


def _ttft_p99(asked: Asked, rows: Bools) -> str:
    values = asked.ttft_s[rows & ~np.isnan(asked.ttft_s)]
    return duration(float(np.quantile(values, 0.99))) if len(values) else "—"
