"""Mistakes in the `plan` block, by their place in it."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.errors import UserError
from simlora.planning.runner import build
from simlora.planning.search.candidates import Candidate


def check_policies(left: Sequence[Candidate]) -> None:
    """Raises UserError for an eviction or routing policy that does not exist, or that cannot serve
    the scenario, before the first run."""
    kinds: dict[tuple[object, ...], Candidate] = {}
    for candidate in left:
        chosen = candidate.configuration
        kinds.setdefault((chosen.eviction, chosen.routing, chosen.admission), candidate)
    for candidate in kinds.values():
        try:
            build(candidate.fleet(1))
        except UserError as error:
            raise candidate.configuration.explained(error, candidate.scenario) from None
