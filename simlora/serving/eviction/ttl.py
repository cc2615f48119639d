"""A time to live."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

TTL_S = 3600.0


class TTL:
    """An adapter is good for `ttl_s` seconds after it came in, and is then loaded anew by the first
    request that finds it idle. If room is needed before that, the one with the least left goes."""

    def __init__(self, ttl_s: float = TTL_S) -> None:
        self._ttl_s = ttl_s
        self._until_s: OrderedDict[int, float] = OrderedDict()

    def on_insert(self, key: int, nbytes: int, now: float) -> None:
        self._until_s[key] = now + self._ttl_s

    def on_access(self, key: int, now: float) -> None:
        pass

    def on_remove(self, key: int) -> None:
        del self._until_s[key]

    def expired(self, key: int, now: float) -> bool:
        return now >= self._until_s[key]

    def victims(self) -> Iterator[int]:
        return iter(self._until_s)
