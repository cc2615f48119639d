"""How much of the failures that a promise allows has been used up: its error budget."""

from __future__ import annotations

import math
from typing import Any


def error_budget(allowed_share: float, broken: int, judged: int, told: bool) -> dict[str, Any]:
    """What a promise allows, and what of it is spent (Beyer et al., Site Reliability Engineering,
    2016, chapter 3).

    `allowed_share` of the `judged` requests may break the promise, and `broken` of them did.
    `spent_ratio` is the spent share over the allowed one (None where nothing is allowed), and
    `requests_left` how many more of the judged requests could have broken it; less than 0 if it is
    overspent. `told`: whether the promise was found kept or missed; all but the allowed share is
    None if not.
    """
    allowed = round(allowed_share, 12)  # 1 - 0.9995 is a little less than 0.0005
    if not told or not judged:
        return {
            "allowed_share": allowed,
            "spent_share": None,
            "spent_ratio": None,
            "requests_left": None,
        }
    spent = broken / judged
    return {
        "allowed_share": allowed,
        "spent_share": spent,
        "spent_ratio": spent / allowed if allowed else None,
        "requests_left": math.floor(round(allowed * judged, 6)) - broken,
    }
