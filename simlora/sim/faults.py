"""Which transfers fail."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b

from simlora.scenario.deployment import Deployment
from simlora.serving.loading import NETWORK, PCIE, Transfer


class Outages:
    """What is broken at present beyond what the scenario says of the whole run; all replicas share
    it."""

    def __init__(self) -> None:
        self.store = 0  # outages of the object store going on
        self.corrupt: Counter[int] = Counter()  # damages going on, by adapter


class LoadFaults:
    """Fails the transfers of one replica at the scenario's rate, those from a store that is out,
    and all of corrupt adapters.

    The n-th transfer of an adapter fails or not by the seed alone, whatever happens around it, so
    that scenarios that differ elsewhere meet the same faults.
    """

    def __init__(
        self, deployment: Deployment, replica: int, outages: Outages | None = None
    ) -> None:
        loading = deployment.scenario.adapters.loading
        self._rate = loading.failure_rate
        self._corrupt = {deployment.adapter_index[name] for name in loading.corrupt}
        self._outages = outages or Outages()
        self._salt = f"{deployment.scenario.seed}/{replica}"
        self._transfers: Counter[int] = Counter()

    def fails(self, transfer: Transfer) -> bool:
        """Whether a transfer that has just ended brought nothing of use."""
        adapter = transfer.adapter.index
        if transfer.link == PCIE:
            return False
        if adapter in self._corrupt or self._outages.corrupt[adapter] > 0:
            return True
        if transfer.link == NETWORK and self._outages.store:
            return True
        if not self._rate:
            return False
        self._transfers[adapter] += 1
        text = f"{self._salt}/{adapter}/{self._transfers[adapter]}"
        digest = blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self._rate * 2**64
