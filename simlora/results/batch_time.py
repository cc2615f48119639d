"""Whose the time of a replica's batch was, and whose the adapters in its memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from simlora.results.arrays import Floats

# The records WEIGHT and USE.
_WEIGHT = np.dtype([("at_s", "<f8"), ("tenant", "<i4"), ("change", "<i4")])
_USE = np.dtype([("adapter", "<i4"), ("since_s", "<f8"), ("until_s", "<f8")])


class BatchTime:
    """Adds up what one place in the fleet took down (see `simlora.serving.step.StepLog`); all
    replicas that are there one after another go into the same.

    `busy_s`: seconds of batches by tenant. `load_s`: seconds in which a batch stood still for the
    load of an adapter, by adapter: they are its tenant's alone, not shared by those in the batch.
    Both together add up to the time in which anything was in a batch.
    `stays_s`: seconds by adapter in GPU memory, from the end of a load to the last use before it is
    evicted: how long an idle adapter stays after that is the cache's choice, for memory that nobody
    else asked for.
    """

    def __init__(self) -> None:
        self.busy_s: defaultdict[int, float] = defaultdict(float)
        self.load_s: defaultdict[int, float] = defaultdict(float)
        self.stays_s: defaultdict[int, float] = defaultdict(float)
        self._at_s = 0.0  # up to which time is shared
        self._weight: defaultdict[int, float] = defaultdict(float)  # by tenant, in the batch then
        self._loads: list[tuple[int, int, float]] = []  # since then, as in the log
        self._stays: dict[int, tuple[float, float]] = {}  # by adapter: hot since, latest use

    def add(
        self,
        weights: bytes,
        uses: bytes,
        loads: Sequence[tuple[int, int, float]],
    ) -> None:
        """What has been taken down since the last call."""
        self._loads += loads
        if weights:
            self._share(np.frombuffer(weights, dtype=_WEIGHT))
        if uses:
            self._use(np.frombuffer(uses, dtype=_USE))

    def _share(self, changes: np.ndarray) -> None:
        """Each second goes to the batch by weight, so a tenant that weighs `w` from one instant to
        another has `w` times the integral of `1 / weight of the batch` between the two."""
        at_s, change = changes["at_s"], changes["change"].astype(np.float64)
        tenants, row = np.unique(changes["tenant"], return_inverse=True)
        everybody = np.union1d(tenants, np.array([*self._weight], dtype=np.int64))
        row = np.searchsorted(everybody, tenants)[row]
        began = np.array([self._weight.get(int(one), 0.0) for one in everybody])
        before = began.sum() + np.cumsum(change) - change  # weight of the batch before each change
        spent_s = np.diff(at_s, prepend=self._at_s)
        spent_s = spent_s - self._stood_still_s(np.where(before > 0, spent_s, 0.0))
        integral = np.cumsum(
            np.divide(spent_s, before, out=np.zeros(len(before)), where=before > 0)
        )
        gained = np.bincount(row, change, len(everybody))
        # From when its weight changed to the end, and from the beginning for what was there.
        left = integral[-1] - integral
        shares_s = np.bincount(row, change * left, len(everybody)) + began * integral[-1]
        self._weight.clear()
        for one, seconds, weight in zip(everybody, shares_s, began + gained, strict=True):
            self.busy_s[int(one)] += float(seconds)
            if weight:
                self._weight[int(one)] = float(weight)
        self._at_s = float(at_s[-1])

    def _stood_still_s(self, spent_s: Floats) -> Floats:
        """Of the seconds before each change, those spent on loads, which are booked here. A load
        after the last change is left for the next call."""
        stalled_s = np.zeros(len(spent_s))
        if not self._loads:
            return stalled_s
        now = [load for load in self._loads if load[0] < len(spent_s)]
        self._loads = [
            (after - len(spent_s), adapter, seconds)
            for after, adapter, seconds in self._loads
            if after >= len(spent_s)
        ]
        for after, _, seconds in now:
            stalled_s[after] += seconds
        # A batch that was cut did not stand still to the end.
        taken = np.divide(spent_s, stalled_s, out=np.ones(len(spent_s)), where=stalled_s > spent_s)
        for after, adapter, seconds in now:
            self.load_s[adapter] += seconds * float(taken[after])
        booked_s: Floats = stalled_s * taken
        return booked_s

    def _use(self, uses: np.ndarray) -> None:
        """Each stay is told by its latest use."""
        uses = uses[np.lexsort((uses["until_s"], uses["since_s"], uses["adapter"]))]
        adapter, since_s = uses["adapter"], uses["since_s"]
        last = np.append((np.diff(adapter) != 0) | (np.diff(since_s) != 0), True)
        for one, began_s, until_s in uses[last].tolist():
            stay = self._stays.get(one)
            if stay is not None and stay[0] != began_s:
                self.stays_s[one] += stay[1] - stay[0]
            self._stays[one] = began_s, until_s

    def close(self) -> None:
        """The run is over: stays that go on end with their latest use."""
        for adapter, (since_s, until_s) in self._stays.items():
            self.stays_s[adapter] += until_s - since_s
        self._stays.clear()
