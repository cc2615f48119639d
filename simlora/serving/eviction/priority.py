"""Tenants' priority, on top of any policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from simlora.serving.eviction.base import EvictionPolicy, PolicyContext


class Priority:
    """Evicts from the SLA tier of the least weight as long as it has adapters here, in the order of
    a policy of its own; adapters of pinned tiers are last."""

    def __init__(self, make: Callable[[PolicyContext], EvictionPolicy]) -> None:
        """`make` makes the policy of one weight."""
        self._make = make
        self._context = PolicyContext()
        self._classes: dict[float, EvictionPolicy] = {}  # by weight, the least first
        self._class_of: dict[int, EvictionPolicy] = {}  # of each resident key

    def bind(self, context: PolicyContext) -> None:
        """The part of the tier that a weight has is what it holds, so it has no fixed capacity."""
        self._context = replace(context, capacity_bytes=None)
        self._of_weight(1.0)  # what the policy may raise, it raises now

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        policy = self._class_of[key] = self._of_weight(self._context.weight(key))
        policy.on_insert(key, nbytes, now)

    def on_access(self, key: int, now: float) -> None:
        self._class_of[key].on_access(key, now)

    def on_miss(self, key: int, now: float) -> None:
        on_miss = getattr(self._of_weight(self._context.weight(key)), "on_miss", None)
        if on_miss is not None:
            on_miss(key, now)

    def on_remove(self, key: int) -> None:
        self._class_of.pop(key).on_remove(key)

    def expired(self, key: int, now: float) -> bool:
        expired = getattr(self._class_of[key], "expired", None)
        return expired is not None and bool(expired(key, now))

    def victims(self) -> Iterator[int]:
        for policy in self._classes.values():
            yield from policy.victims()

    def _of_weight(self, weight: float) -> EvictionPolicy:
        policy = self._classes.get(weight)
        if policy is None:
            policy = self._classes[weight] = self._make(self._context)
            self._classes = dict(sorted(self._classes.items()))
        return policy
