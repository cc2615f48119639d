"""Where the most is cached, unless there is too much to do."""

from __future__ import annotations

from collections.abc import Sequence

from simlora.serving.request import Request
from simlora.serving.routing.base import SLACK_REQUESTS, ReplicaView, key_of, numbers_of
from simlora.serving.routing.rendezvous import Rendezvous
from simlora.serving.routing.residency import NEARBY, adapter_residency, cached_share, kv_use


class Score:
    """The replica with the best weighted sum of what it has cached and of how busy it is.

    Four scorers, the first two for and the others against a replica:

    * prefix: the share of the prompt that its prefix cache has, 0 to 1;
    * adapter: 1 in GPU memory, 0.6 in host memory or on its way, 0 elsewhere;
    * load: unfinished requests beyond the least loaded's, in multiples of those, or of `slack`
      requests if that is more;
    * KV: the share of the KV cache that running requests hold, 0 to 1.

    llm-d's router weighs prefix, queue and KV use 3:2:2 by default; these are kept, for a prefix is
    prefill that need not be computed, the dearest of them. The adapter's 2 is below a whole prompt
    found, for a load from host memory takes milliseconds, and above a short prefix. With them, a
    hot adapter alone holds a request while the replica has less than twice the least loaded's
    requests, and a whole prompt beside it less than 3.5 times; beyond, the request spills to a
    replica that then has both cached, too, and shares the load from there on. `slack` has the part
    of the absolute threshold in SGLang's cache-aware router: small queues are no imbalance.

    Of equals, the first in the adapter's rendezvous order is chosen, so that a cold adapter has a
    home and the homes spread over the replicas.
    """

    def __init__(
        self,
        prefix_weight: float = 3.0,
        adapter_weight: float = 2.0,
        load_weight: float = 2.0,
        kv_weight: float = 2.0,
        slack: int = SLACK_REQUESTS,
    ) -> None:
        self._prefix_weight = prefix_weight
        self._adapter_weight = adapter_weight
        self._load_weight = load_weight
        self._kv_weight = kv_weight
        self._slack = slack
        self._homes = Rendezvous()
        self._sent: dict[int, int] = {}  # adapter to the number of the replica last chosen for it

    def choose(self, request: Request, replicas: Sequence[ReplicaView]) -> int:
        shares = [cached_share(request, replica) for replica in replicas]
        numbers = numbers_of(replicas)
        index = self._best(request.adapter, key_of(request), replicas, numbers, shares)
        if request.adapter >= 0:
            self._sent[request.adapter] = numbers[index]
        return index

    def foresee(self, adapter: int, replicas: Sequence[ReplicaView]) -> int:
        return self._best(adapter, adapter, replicas, numbers_of(replicas), [0.0] * len(replicas))

    def _best(
        self,
        adapter: int,
        key: int,
        replicas: Sequence[ReplicaView],
        numbers: list[int],
        shares: list[float],
    ) -> int:
        least = min(replica.outstanding for replica in replicas)
        unit = max(least, self._slack, 1)
        sent = self._sent.get(adapter, -1)

        def score(index: int) -> float:
            replica = replicas[index]
            residency = adapter_residency(adapter, replica)
            if numbers[index] == sent:
                # Its load may be under way, which another replica would have to begin anew.
                residency = max(residency, NEARBY)
            return (
                self._prefix_weight * shares[index]
                + self._adapter_weight * residency
                - self._load_weight * (replica.outstanding - least) / unit
                - self._kv_weight * kv_use(replica)
            )

        return max(self._homes.order(key, numbers), key=score)
