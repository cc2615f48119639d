"""Confirms what a search found on seeds that had no part in it, and searches again if it fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from simlora.planning.search.branch import Found, Search
from simlora.planning.search.candidates import Candidate
from simlora.planning.search.trials import Trials


@dataclass(frozen=True, slots=True)
class Refuted:
    """A fleet that the search found and that fresh seeds did not confirm, and why not."""

    name: str
    usd_per_month: float
    why: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """`best`: the cheapest fleet that `seeds`, which it was not chosen by, confirm (None: there is
    none); `refuted` were chosen before it. A trace has no further seeds, and nothing is run."""

    best: Found | None
    seeds: range | None
    refuted: tuple[Refuted, ...] = ()


def confirmed_best(
    trials: Trials,
    left: Sequence[Candidate],
    searching: Callable[[Search], None],
    *,
    by_kind: bool = True,
    warm: Candidate | None = None,
) -> Confirmed:
    """Search and confirm; as often as a fleet fails, without that fleet and on seeds further on.
    `searching` is told of each search before it begins; `by_kind` and `warm` are how it goes about
    it."""
    refuted: list[Refuted] = []
    first = trials.seeds[-1] + 1
    while True:
        search = Search(trials, by_kind, frozenset(one.name for one in refuted))
        searching(search)
        search.cheapest(left, warm)
        best = search.roomiest(left)
        if best is None or trials.is_trace:
            return Confirmed(best, None, tuple(refuted))
        seeds = trials.fresh_seeds(first)
        confirmation = trials.confirm_afresh(best.name, best.scenario, seeds)
        if confirmation.shown:
            return Confirmed(replace(best, confirmation=confirmation), seeds, tuple(refuted))
        why = trials.missed(confirmation)
        refuted.append(Refuted(best.name, best.usd_per_month, why))
        first = seeds[-1] + 1
