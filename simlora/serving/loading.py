"""What a load is made of: hop by hop, seconds whatever the size, seconds a byte, and a link."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.scenario.schema import Adapters
from simlora.serving.adapter_state import AdapterState

# The links an adapter travels over, each shared by the replica's transfers: from the store to the
# host, from local disk to the host, from the host to GPU memory.
NETWORK, DISK, PCIE = range(3)
# Where a transfer ends.
TO_DISK, TO_HOST, TO_GPU = range(3)

GIGABIT = 1e9 / 8  # bytes

# Terms of a load's time, in the order in which they come.
TERMS = (
    "backoff",
    "request",
    "tls",
    "cross_region",
    "download",
    "disk_access",
    "disk_read",
    "decompression",
    "deserialization",
    "registration",
    "pcie",
)


@dataclass(slots=True, frozen=True)
class Transfer:
    """An order to the driver: `latency_s` seconds, `nbytes` over `link`, then `finish_s` seconds;
    report with `transfer_done`. `attempt` counts those of the same load that failed before."""

    adapter: AdapterState
    link: int
    latency_s: float
    nbytes: int
    finish_s: float = 0.0
    goal: int = TO_HOST
    ordered_s: float = 0.0
    backoff_s: float = 0.0  # of latency_s
    attempt: int = 0


@dataclass(slots=True, frozen=True)
class Hop:
    """The way over one link. `before` are seconds whatever the size, `after` seconds a byte on the
    host once the bytes are there; both by term. `term` is the link's own."""

    link: int
    bytes_per_s: float
    term: str
    before: tuple[tuple[str, float], ...]
    after: tuple[tuple[str, float], ...]

    @property
    def before_s(self) -> float:
        return sum(seconds for _, seconds in self.before)

    @property
    def after_s_per_byte(self) -> float:
        return sum(seconds for _, seconds in self.after)


class LoadPath:
    """The hops of a replica. `load_bytes_per_s` is the rate of copies to GPU memory."""

    def __init__(self, config: Adapters, load_bytes_per_s: float) -> None:
        store, nvme = config.store, config.nvme
        self.hops = (
            Hop(
                NETWORK,
                store.bandwidth_gbps * GIGABIT,
                "download",
                (
                    ("request", store.latency_s),
                    ("tls", store.tls_s),
                    ("cross_region", store.cross_region_s),
                ),
                (
                    ("decompression", _seconds_per_byte(store.decompression_gbps)),
                    ("deserialization", _seconds_per_byte(store.deserialization_gbps)),
                ),
            ),
            Hop(
                DISK,
                nvme.bandwidth_gbps * GIGABIT,
                "disk_read",
                (("disk_access", nvme.latency_s),),
                (("deserialization", _seconds_per_byte(nvme.deserialization_gbps)),),
            ),
            Hop(
                PCIE, load_bytes_per_s, "pcie", (("registration", config.warm.registration_s),), ()
            ),
        )
        self._before_s = [hop.before_s for hop in self.hops]
        self._after_s_per_byte = [hop.after_s_per_byte for hop in self.hops]
        self._s_per_byte = [1 / hop.bytes_per_s + hop.after_s_per_byte for hop in self.hops]

    @property
    def links_bytes_per_s(self) -> list[float]:
        """The bandwidth of each link, by its number."""
        return [hop.bytes_per_s for hop in self.hops]

    def alone_s(self, link: int, nbytes: int) -> float:
        """Seconds that a hop takes on an idle link."""
        return self._before_s[link] + nbytes * self._s_per_byte[link]

    def order(
        self,
        state: AdapterState,
        link: int,
        goal: int,
        now: float,
        *,
        attempt: int = 0,
        backoff_s: float = 0.0,
        first_s: float = 0.0,
    ) -> Transfer:
        """The order to move an adapter over a link, after waiting for `backoff_s` and whatever
        else comes first."""
        return Transfer(
            state,
            link,
            self._before_s[link] + backoff_s + first_s,
            state.nbytes,
            state.nbytes * self._after_s_per_byte[link],
            goal,
            now,
            backoff_s,
            attempt,
        )

    def book(self, transfer: Transfer, now: float, terms_s: dict[str, float]) -> None:
        """Add the time that a transfer took until `now` to its terms; what its fixed terms do not
        explain is the link's, shared with others."""
        hop = self.hops[transfer.link]
        took_s = now - transfer.ordered_s
        told_s = transfer.backoff_s
        terms_s["backoff"] += transfer.backoff_s
        for term, seconds in hop.before:
            terms_s[term] += seconds
            told_s += seconds
        for term, seconds_per_byte in hop.after:
            seconds = seconds_per_byte * transfer.nbytes
            terms_s[term] += seconds
            told_s += seconds
        terms_s[hop.term] += max(0.0, took_s - told_s)


def _seconds_per_byte(gbps: float | None) -> float:
    return 0.0 if gbps is None else 1 / (gbps * GIGABIT)
