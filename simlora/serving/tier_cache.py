"""A tier below the GPU: a bounded set of adapters with an eviction policy."""

from __future__ import annotations

from collections.abc import Callable

from simlora.serving.eviction import EvictionPolicy

Evictable = Callable[[int], bool]


class TierCache:
    """Keys with sizes in bytes, bounded by `capacity_bytes` and, if given, by `max_count`.

    Where `evictable` is given, only keys of which it is true may leave.
    """

    def __init__(
        self, capacity_bytes: float, max_count: int | None, policy: EvictionPolicy
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.max_count = max_count
        self.used_bytes = 0
        self.evictions = 0
        self._policy = policy
        self._on_miss: Callable[[int, float], None] | None = getattr(policy, "on_miss", None)
        self._expired: Callable[[int, float], bool] | None = getattr(policy, "expired", None)
        self._crowded: Callable[[int, int], bool] | None = getattr(policy, "crowded", None)
        self._sizes: dict[int, int] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def has_room(self, nbytes: int) -> bool:
        """Whether `nbytes` more fit without an eviction."""
        more = self.max_count is None or len(self._sizes) < self.max_count
        return more and self.used_bytes + nbytes <= self.capacity_bytes

    def access(self, key: int, now: float, evictable: Evictable | None = None) -> bool:
        """Count an access; True if `key` is here. It leaves if its time is over."""
        if key in self._sizes:
            if (
                self._expired is None
                or not self._expired(key, now)
                or (evictable is not None and not evictable(key))
            ):
                self._policy.on_access(key, now)
                return True
            self._evict(key)
        if self._on_miss is not None:
            self._on_miss(key, now)
        return False

    def insert(
        self, key: int, nbytes: int, now: float, evictable: Evictable | None = None
    ) -> list[int] | None:
        """Bring `key` in. Returns the keys evicted for it, or None if it cannot fit: then nothing
        has changed."""
        victims: list[int] = []
        if not self.has_room(nbytes):
            if not self._can_make_room(nbytes, evictable):
                return None
            while not self.has_room(nbytes):
                victim = self._next_victim(evictable)
                assert victim is not None, "the policy leaves out what is in the tier"
                self._evict(victim)
                victims.append(victim)
        if self._crowded is not None:
            while self._crowded(key, nbytes):
                victim = self._next_victim(evictable)
                if victim is None:
                    break
                self._evict(victim)
                victims.append(victim)
        self._sizes[key] = nbytes
        self.used_bytes += nbytes
        self._policy.on_insert(key, nbytes, now)
        return victims

    def remove(self, key: int) -> None:
        """Take `key` out, which is not counted as an eviction."""
        self.used_bytes -= self._sizes.pop(key)
        self._policy.on_remove(key)

    def _can_make_room(self, nbytes: int, evictable: Evictable | None) -> bool:
        if nbytes > self.capacity_bytes or self.max_count == 0:
            return False
        if evictable is None:
            return True
        bytes_short = self.used_bytes + nbytes - self.capacity_bytes
        count_short = 0 if self.max_count is None else len(self._sizes) + 1 - self.max_count
        for key, size in self._sizes.items():
            if evictable(key):
                bytes_short -= size
                count_short -= 1
                if bytes_short <= 0 and count_short <= 0:
                    return True
        return False

    def _next_victim(self, evictable: Evictable | None) -> int | None:
        for victim in self._policy.victims():
            if evictable is None or evictable(victim):
                return victim
        return None

    def _evict(self, key: int) -> None:
        self.evictions += 1
        self.remove(key)
