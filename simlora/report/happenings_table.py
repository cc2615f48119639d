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
    """A row for each, of the requests that arrived while it lasted, under `HEADS`; of a burst two,
    the second of all tenants that did not send it. Then one of all other requests, or two: a
    tenant's burst may weigh on what it asks later. Empty if nothing happened."""
    found = happenings(result.summary, result.timeline)
    if not found:
        return []
    rows: list[tuple[str, ...]] = []
    others: Bools = np.ones(len(asked.arrival_s), dtype=bool)
    bursting: Bools = np.zeros(len(others), dtype=bool)
    for happening in found:
        during = _during(happening, asked)
        others &= ~during
        sent = _sent_by(happening.senders, asked)
        when = (moment(happening.at_s), tick(happening.duration_s))
        rows.append((happening.told, *when, *_figures(asked, during & sent)))
        if happening.senders:
            bursting |= sent
        if not sent.all():
            rows.append(("everybody else meanwhile", *when, *_figures(asked, during & ~sent)))
    rest = {"none of these": others}
    if bursting.any() and not bursting.all():
        rest = {
            "none of these, tenants with bursts": others & bursting,
            "none of these, everybody else": others & ~bursting,
        }
    return [*rows, *((told, "", "", *_figures(asked, where)) for told, where in rest.items())]


def _during(happening: Happening, asked: Asked) -> Bools:
    rows: Bools = (asked.arrival_s >= happening.at_s) & (asked.arrival_s < happening.end_s)
    return rows


def _sent_by(senders: str, asked: Asked) -> Bools:
    """The requests of a tenant or of the tenants of a group; all, if it is nobody's."""
    if not senders:
        return np.ones(len(asked.tenant), dtype=bool)
    theirs = [senders in (name, name.rpartition("-")[0]) for name in asked.tenant_names]
    rows: Bools = np.isin(asked.tenant, np.flatnonzero(theirs))
    return rows


def _figures(asked: Asked, rows: Bools) -> tuple[str, str, str]:
    """Requests, the share of them that was turned away or failed, and the p99 of their TTFT."""
    count, refused = int(rows.sum()), int((rows & (asked.cause >= 0)).sum())
    values = asked.ttft_s[rows & ~np.isnan(asked.ttft_s)]
    p99 = duration(float(np.quantile(values, 0.99))) if len(values) else "—"
    return f"{count:,}", share(refused / count) if count else "—", p99
