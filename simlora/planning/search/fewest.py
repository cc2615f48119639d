"""The smallest number that passes a test, by doubling steps and bisection."""

from __future__ import annotations

from collections.abc import Callable


def fewest(passes: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number from `low` to `high` that passes, where all above one that passes do;
    None if `high` does not.

    Asks for `low`, `low` + 1, + 3, + 7 … until one passes, and bisects the last gap.

    >>> asked = []
    >>> fewest(lambda n: asked.append(n) or n >= 6, 1, 32), asked
    (6, [1, 2, 4, 8, 6, 5])
    """
    failed, step, number = low - 1, 1, low
    while number <= high:
        if passes(number):
            return _between(passes, failed, number)
        failed = number
        if number == high:
            break
        number = min(number + step, high)
        step *= 2
    return None


def fewest_below(passes: Callable[[int], bool], low: int, high: int) -> int | None:
    """The same where most often none passes: `high` is asked for first."""
    if low > high or not passes(high):
        return None
    return _between(passes, low - 1, high)


def _between(passes: Callable[[int], bool], failed: int, passed: int) -> int:
    while passed - failed > 1:
        middle = (failed + passed) // 2
        if passes(middle):
            passed = middle
        else:
            failed = middle
    return passed
