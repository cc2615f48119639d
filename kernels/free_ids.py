"""Free ids: a stack in an array, so that taking or giving any number of them is one copy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


class FreeIds:
    """The free ones of the ids 0 to `total` - 1.

    Last in, first out: ids given back together are taken together again, so the pages of a block
    stay neighbours in memory until an adapter has needed some of them.
    """

    def __init__(self, total: int) -> None:
        self._ids: Ids = np.arange(total, dtype=np.int32)
        self._count = total

    def __len__(self) -> int:
        return self._count

    @property
    def ids(self) -> Ids:
        """The free ids, a view."""
        return self._ids[: self._count]

    def take(self, count: int) -> Ids:
        """Take `count` ids, of which there must be as many."""
        assert 0 <= count <= self._count, (count, self._count)
        self._count -= count
        return self._ids[self._count : self._count + count].copy()

    def give(self, ids: Ids) -> None:
        """Give ids back that were taken."""
        self._ids[self._count : self._count + len(ids)] = ids
        self._count += len(ids)

    def check(self, used: NDArray[np.integer]) -> None:
        """Raises AssertionError unless each id is either free or in `used`, and there once."""
        ids = np.concatenate((self.ids, used))
        assert len(ids) == len(self._ids), "ids lost or held twice"
        assert (np.bincount(ids, minlength=len(ids)) == 1).all(), "ids held twice"
