"""The protocol of an eviction policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class EvictionPolicy(Protocol):
    """Ranks the adapters of one tier. Keys are adapter indexes, sizes bytes, times seconds.

    A policy sees every access in the order of arrival; it does not know which adapters are in use,
    so the tier walks `victims` until one may go, and begins anew for the next. The walk itself
    changes nothing, because a tier may look and then evict something else; a policy that ages what
    it passes does so in `on_remove`.

    The methods of the protocols below are called, too, if a policy has them.
    """

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        """`key` has come into the tier."""

    def on_access(self, key: int, now: float) -> None:
        """A request for the resident `key` has arrived."""

    def on_remove(self, key: int) -> None:
        """`key` has been evicted."""

    def victims(self) -> Iterator[int]:
        """The resident keys, the one to evict first in front."""


class SeesMisses(Protocol):
    """A policy that remembers what is not in the tier."""

    def on_miss(self, key: int, now: float) -> None:
        """A request for `key` has arrived, which is not in the tier. `on_insert` follows if and
        when it comes in, after the evictions that make room for it."""


class Expires(Protocol):
    """A policy whose adapters are good for a limited time."""

    def expired(self, key: int, now: float) -> bool:
        """Whether the resident `key` must be loaded anew for a request that arrives now."""


class Partitions(Protocol):
    """A policy that keeps a part of the tier from filling all of it."""

    def crowded(self, key: int, nbytes: int) -> bool:
        """Whether something must make room for `key`, which comes in, although the tier has it."""


class WantsContext(Protocol):
    """A policy that depends on the tier it serves."""

    def bind(self, context: PolicyContext) -> None:
        """Take notice of the tier, before anything else. Raises ValueError if the policy cannot
        serve it."""


def _one(_: int) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class PolicyContext:
    """What a tier tells its policy."""

    # None: the tier is bounded by a count, or shares its memory; then what it holds whenever
    # something has to go is its capacity.
    capacity_bytes: float | None = None
    reload_s: Callable[[int], float] = _one  # seconds to bring a key back if it went now
    weight: Callable[[int], float] = _one  # of the key's SLA tier; infinite if that is pinned
    unit_bytes: float = 1.0  # what sizes are multiples of, roughly: the smallest adapter
    # When a key is next asked for after a time (infinity: never). Nobody knows but a replay.
    next_use: Callable[[int, float], float] | None = None


class SizeAware:
    """Base of the policies whose parts have shares of the tier's bytes."""

    _capacity_bytes: float | None = None

    def bind(self, context: PolicyContext) -> None:
        """Shares are of the tier's capacity from now on."""
        self._capacity_bytes = context.capacity_bytes

    def _capacity(self, resident_bytes: int) -> float:
        return resident_bytes if self._capacity_bytes is None else self._capacity_bytes
