"""Mistakes in the `plan` block that show only when a simulation is built."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.planning.runner import prepare
from simlora.planning.search.candidates import Candidate
from simlora.planning.variants import Variant


def check_policies(left: Sequence[Candidate]) -> None:
    """Raises UserError for an eviction or routing policy that does not exist, or that cannot serve
    the scenario, before the first run."""
    kinds: dict[tuple[object, ...], Candidate] = {}
    for candidate in left:
        chosen = candidate.configuration
        kinds.setdefault((chosen.eviction, chosen.routing, chosen.admission), candidate)
    prepare([Variant(one.name(1), one.fleet(1)) for one in kinds.values()])
