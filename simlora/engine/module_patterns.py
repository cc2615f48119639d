"""Which modules an adapter's config names, by lists and by regular expressions.

A pattern is the tenant's, and Python's own engine backtracks: `([a-z.]+)+!` would keep it busy for
ever on one name, and every thread with it. RE2's time is linear in the name's length
(https://swtch.com/~rsc/regexp/regexp3.html), and what it cannot do in that time it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from simlora.errors import UserError
from simlora.scenario.problems import given

if TYPE_CHECKING:
    import re2

_LONGEST = 4000  # characters
_MOST = 1000  # patterns of a field; the 126 layers of Llama-3.1-405B have 882 linear modules
_LARGEST = 100_000  # instructions of RE2 in all patterns of a field: steps for a character at most
_MEMORY_BYTES = 2**20  # of RE2 for a pattern
_UP_TO = re.compile(r"\{,\d*\}")
Value = TypeVar("Value")


def endings(name: str) -> Iterator[str]:
    """A module's name, and what remains of it without its first part, its first two, …"""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield name


class ModuleNames:
    """The modules of a list of names' endings, or those whose whole name a pattern matches.

    Raises UserError for a pattern that cannot be matched.
    """

    def __init__(self, told: Iterable[str] | str | None) -> None:
        self._pattern = _Pattern(told) if isinstance(told, str) else None
        if self._pattern is not None:
            _check_size([self._pattern])
        self._endings = frozenset(() if told is None or isinstance(told, str) else told)

    def __contains__(self, name: str) -> bool:
        if self._pattern is not None:
            return self._pattern.matches(name)
        return not self._endings.isdisjoint(endings(name))


class EndingPatterns(Generic[Value]):
    """Values by patterns of how a module's name ends, from a dot on: the first that matches counts.

    Raises UserError for a pattern that cannot be matched, and for more of them than a model has
    modules.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        if len(values) > _MOST:
            raise UserError(f"has at most {_MOST} patterns, not {len(values)}")
        self._values = [
            (_Pattern(pattern, ending=True), value) for pattern, value in values.items()
        ]
        _check_size(pattern for pattern, _ in self._values)
        self._known: dict[str, Value | None] = {}

    def get(self, name: str, default: Value) -> Value:
        """The value for a module's name."""
        if name not in self._known:
            matching = (value for pattern, value in self._values if pattern.matches(name))
            self._known[name] = next(matching, None)
        found = self._known[name]
        return default if found is None else found


class _Pattern:
    def __init__(self, pattern: str, *, ending: bool = False) -> None:
        if len(pattern) > _LONGEST:
            raise UserError(f"a pattern has at most {_LONGEST} characters")
        _check_syntax(pattern, ending)
        self._compiled = _compile(pattern, rf"(?:.*\.)?(?:{pattern})" if ending else pattern)
        self.size: int = self._compiled.programsize

    def matches(self, name: str) -> bool:
        # Bytes, since re2 would count the characters of every match.
        return self._compiled.fullmatch(name.encode()) is not None


def _check_syntax(pattern: str, ending: bool) -> None:
    """Raises UserError unless Python takes the pattern, too, and takes it for the same."""
    # Names are ASCII. RE2 reads {,3} as it stands, and [:x:] in brackets as a class.
    same = pattern.isascii() and not _UP_TO.search(pattern)
    if not same or "[:" in pattern.partition("[")[2]:
        raise _lacking(pattern)
    try:
        re.compile(pattern)
        if ending:
            re.compile(rf"(.*\.)?({pattern})$")
    except (re.error, RecursionError, OverflowError):
        raise UserError(f"{given(pattern)} is no regular expression") from None


def _compile(pattern: str, full: str) -> re2._Regexp:
    try:
        import re2
    except ImportError:
        raise UserError(
            "patterns need the package google-re2; pip install 'simlora[registry]'"
        ) from None
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MEMORY_BYTES
    try:
        return re2.compile(full.encode(), options)
    except re2.error:
        raise _lacking(pattern) from None


def _check_size(patterns: Iterable[_Pattern]) -> None:
    if sum(pattern.size for pattern in patterns) > _LARGEST:
        raise UserError("its patterns are too large to be matched")


def _lacking(pattern: str) -> UserError:
    return UserError(
        f"{given(pattern)} is no regular expression of RE2's, which has no lookarounds, "
        "backreferences or large repetitions; name the modules in another way"
    )
