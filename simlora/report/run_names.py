"""What several runs are called beside each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from simlora.results.result import Result


def names_of(results: Sequence[Result]) -> list[str]:
    """The scenario's name of each run; where runs share one, with the name of their directory, and
    where they share that too, with a number."""
    names = [str(result.summary["name"]) for result in results]
    for told in ([result.directory.name for result in results], list(range(1, len(results) + 1))):
        count = Counter(names)
        names = [
            f"{name} ({more})" if count[name] > 1 and str(more) != name else name
            for name, more in zip(names, told, strict=True)
        ]
    return names
