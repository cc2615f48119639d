"""A tier below the GPU: a bounded set of adapters with an eviction policy."""

from __future__ import annotations

from collections.abc import Callable

from simlora.serving.eviction import EvictionPolicy


class TierCache:
    """Keys with sizes in bytes, bounded by `capacity_bytes` and, if given, by `max_count`."""

    def __init__(
        self, capacity_bytes: float, max_count: int | None, policy: EvictionPolicy
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.max_count = max_count
        self.used_bytes = 0
        self.evictions = 0
        self._policy = policy
        self._sizes: dict[int, int] = {}

    def __contains__(self, key: int) -> bool:
        return key in self._sizes

    def __len__(self) -> int:
        return len(self._sizes)

    def has_room(self, nbytes: int) -> bool:
        """Whether `nbytes` more fit without an eviction."""
        more = self.max_count is None or len(self._sizes) < self.max_count
        return more and self.used_bytes + nbytes <= self.capacity_bytes

    def access(self, key: int, now: float) -> bool:
        """Count an access; True if `key` is here."""
        if key not in self._sizes:
            return False
        self._policy.on_access(key, now)
        return True

    def insert(
        self, key: int, nbytes: int, now: float, evictable: Callable[[int], bool]
    ) -> list[int] | None:
        """Bring `key` in. Returns the keys evicted for it, or None if it cannot fit: then nothing
        has changed."""
        victims: list[int] = []
        bytes_left = self.capacity_bytes - self.used_bytes - nbytes
        count_left = len(self._sizes) + 1
        limit = self.max_count if self.max_count is not None else count_left
        if bytes_left < 0 or count_left > limit:
            for victim in self._policy.victims():
                if not evictable(victim):
                    continue
                victims.append(victim)
                bytes_left += self._sizes[victim]
                count_left -= 1
                if bytes_left >= 0 and count_left <= limit:
                    break
            else:
                return None
        for victim in victims:
            self.used_bytes -= self._sizes.pop(victim)
            self._policy.on_remove(victim)
        self.evictions += len(victims)
        self._sizes[key] = nbytes
        self.used_bytes += nbytes
        self._policy.on_insert(key, nbytes, now)
        return victims
