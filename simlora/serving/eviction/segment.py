"""What queue-based policies are made of: queues of sized keys, and memories of evicted ones."""

from __future__ import annotations

from collections import OrderedDict

RECALLED = 64  # keys asked for again that may be on their way in, beyond as many as remembered


class Segment(OrderedDict[int, int]):
    """Keys and their bytes, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def append(self, key: int, nbytes: int) -> None:
        """Add a key as the youngest."""
        self[key] = nbytes
        self.nbytes += nbytes

    def take(self, key: int) -> int:
        """Remove a key. Returns its bytes."""
        nbytes = self.pop(key)
        self.nbytes -= nbytes
        return nbytes

    def take_oldest(self) -> tuple[int, int]:
        """Remove the oldest key. Returns it with its bytes."""
        key, nbytes = self.popitem(last=False)
        self.nbytes -= nbytes
        return key, nbytes


class Ghost:
    """Keys without adapters: what has been evicted lately.

    A key that is asked for again is set aside by `recall`, so that the evictions which make room
    for it do not push it out, and is told by `claim` when it has come in.
    """

    def __init__(self) -> None:
        self._keys = Segment()
        self._recalled: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys) + len(self._recalled)

    @property
    def nbytes(self) -> int:
        """Bytes that the remembered adapters had."""
        return self._keys.nbytes

    def remember(self, key: int, nbytes: int, limit_bytes: float) -> None:
        """Note an eviction, and forget the oldest beyond the limit."""
        keys = self._keys
        keys.append(key, nbytes)
        while keys.nbytes > limit_bytes and keys:
            keys.take_oldest()
        while len(self._recalled) > len(keys) + RECALLED:
            self._recalled.popitem(last=False)

    def forget_oldest(self) -> None:
        """Forget one key, if any is remembered."""
        if self._keys:
            self._keys.take_oldest()

    def recall(self, key: int) -> bool:
        """A request for `key` has arrived. True if it is remembered and was not asked for since."""
        if key not in self._keys:
            return False
        self._keys.take(key)
        self._recalled[key] = None
        return True

    def recalled(self, key: int) -> bool:
        """Whether `key` was remembered when it was last asked for."""
        return key in self._recalled

    def claim(self, key: int) -> bool:
        """Forget `key`. True if it was remembered when it was last asked for."""
        if key in self._recalled:
            del self._recalled[key]
            return True
        if key in self._keys:
            self._keys.take(key)
            return True
        return False
