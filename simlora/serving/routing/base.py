"""The protocol of a router, and what it may ask of a replica."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from simlora.serving.adapter_tiers import AdapterTiers
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import Request

# So many requests more hardly slow a replica down: a small batch's decode step is bound by reading
# the weights. Differences in load below it are no reason to give up what a replica has cached.
SLACK_REQUESTS = 8


class ReplicaView(Protocol):
    """A replica as routers see it; they only look.

    Beside these it has a `number`, unique in the fleet and the same all through the run; where it
    is missing, the position in the sequence takes its place.
    """

    @property
    def outstanding(self) -> int:
        """Requests submitted and not finished."""

    @property
    def memory(self) -> ReplicaMemory:
        """KV blocks and cached prefixes."""

    @property
    def tiers(self) -> AdapterTiers:
        """Where its adapters are."""


@runtime_checkable
class Router(Protocol):
    """Chooses among replicas by what they would tell a real router: their queue and residency.

    The replicas passed are those available, at least one. They may be others, or in another order,
    at the next call, so a router that remembers one remembers its number, not its position.

    The methods of the protocols below are called, too, if a router has them.
    """

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        """The index in `replicas` of the one that gets `request`. Called again for a request that
        was turned away and comes back, or whose replica was lost."""


class Foresees(Protocol):
    """A router that can tell where the next request for an adapter would go."""

    def foresee(self, adapter: int, replicas: Sequence[ReplicaView]) -> int:
        """The index in `replicas` of the one that a request for `adapter` would get if it came now.
        Changes nothing."""


class Learns(Protocol):
    """A router that is told what became of its choices."""

    def finished(self, request: Request, replica: ReplicaView) -> None:
        """`request`, whose times are set, has been completed or has failed on `replica`."""


def likely_replica(router: Router, adapter: int, replicas: Sequence[ReplicaView]) -> int:
    """The replica that a request for the adapter would go to if it came now: what the router's
    `foresee` says, or else the one with the fewest unfinished requests."""
    foresee = getattr(router, "foresee", None)
    if foresee is not None:
        return int(foresee(adapter, replicas))
    return least_loaded(replicas)


def least_loaded(replicas: Sequence[ReplicaView]) -> int:
    """The index of the replica with the fewest unfinished requests; of equals, the first."""
    loads = [replica.outstanding for replica in replicas]
    return loads.index(min(loads))


def numbers_of(replicas: Sequence[ReplicaView]) -> list[int]:
    """What to remember replicas by, in their order."""
    return [getattr(replica, "number", index) for index, replica in enumerate(replicas)]


def key_of(request: Request) -> int:
    """What requests have in common that profit from a common replica: the adapter, or for the base
    model, as a negative number, the tenant."""
    return request.adapter if request.adapter >= 0 else -1 - request.tenant
