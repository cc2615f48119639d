"""The seeds of replications."""

from __future__ import annotations

from simlora.errors import UserError

MOST_SEED = 2**63 - 1


def replicated(seed: int, replications: int) -> range:
    """So many seeds, from the first one on. Raises UserError if there are not that many."""
    if seed > MOST_SEED - replications + 1:
        raise UserError(f"seed: {seed} leaves no room for {replications} replications")
    return range(seed, seed + replications)
