"""Where adapters live and how they get there: the `adapters` block of a scenario."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from simlora.scenario.field_types import (
    Duration,
    Gbps,
    Latency,
    Name,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Rate,
)
from simlora.scenario.strict import Strict

Eviction = Annotated[
    str,
    Field(
        description="2q, arc, fifo, gdsf, lfu, lfuda, lru, lru-K (lru-2; lru-k is the same), "
        "s3-fifo, sieve, sla-aware, slru, ttl or ttl-SECONDS, w-tinylfu, belady (knows all of the "
        "traffic ahead: the bound), or the dotted path package.module:Class of your own; with "
        "+priority at the end, adapters of tiers with less weight go first."
    ),
]


class AdaptiveSize(Strict):
    """The bound on hot adapters follows the load: as many as were asked for in the last `window_s`
    seconds, but at least `min_adapters` and at most `max_adapters`."""

    min_adapters: PositiveInt = 1
    max_adapters: PositiveInt
    window_s: Duration = 300.0

    @model_validator(mode="after")
    def _in_order(self) -> AdaptiveSize:
        if self.min_adapters > self.max_adapters:
            raise ValueError(
                f"min_adapters ({self.min_adapters}) must not be greater than max_adapters "
                f"({self.max_adapters})"
            )
        return self


class HotTier(Strict):
    """Adapters in GPU memory. Adapters of `pinned_tiers` are never evicted once loaded.

    `max_adapters`, `capacity_gb` and `adaptive` bound them where memory is unified; slots have
    `engine.memory.max_loras`. `when_full`: an adapter for which there is no memory waits, or the
    requests that came after its own and overtook it are preempted for it.
    """

    eviction: Eviction = "lru"
    pinned_tiers: list[Name] = Field(default_factory=list)
    max_adapters: PositiveInt | None = None
    capacity_gb: PositiveFloat | None = None
    adaptive: AdaptiveSize | None = None
    when_full: Literal["wait", "preempt"] = "wait"


class WarmTier(Strict):
    """Host memory. `registration_s` is what the stack spends on an adapter that it has copied to
    GPU memory. `inclusive`: an adapter stays here when it moves up; else it comes back when it is
    evicted from GPU memory."""

    capacity_gb: NonNegativeFloat = 256.0
    eviction: Eviction = "lru"
    inclusive: bool = True
    registration_s: Latency = 0.005


class NvmeTier(Strict):
    """Local disk. `deserialization_gbps` is the rate at which a file's bytes become tensors in host
    memory (null: it is mapped, as safetensors can be). `inclusive` as of the warm tier."""

    capacity_gb: NonNegativeFloat = 1000.0
    max_adapters: PositiveInt | None = None
    eviction: Eviction = "lru"
    inclusive: bool = True
    latency_s: Latency = 0.01
    bandwidth_gbps: Gbps = 40.0
    deserialization_gbps: Gbps | None = None


class StoreTier(Strict):
    """Object storage. An object takes a request (`latency_s`), the handshake of a connection that
    is not pooled (`tls_s`), the way from another region (`cross_region_s`), the download, and on
    the host decompression and deserialization (null: none)."""

    latency_s: Latency = 0.08
    tls_s: Latency = 0.03
    cross_region_s: Latency = 0.0
    bandwidth_gbps: Gbps = 0.8
    decompression_gbps: Gbps | None = 3.2
    deserialization_gbps: Gbps | None = 2.0


class LoadFailures(Strict):
    """What goes wrong between disk or store and host memory, and what is done about it.

    `failure_rate`: share of transfers that break off or arrive damaged; `corrupt` names adapters
    whose file itself is damaged, so that every transfer of it fails its check; none of them begins
    in host memory. A transfer is tried again up to `retries` times, after `backoff_s` seconds,
    doubled each time; then the requests that wait for the adapter fail, and those to come try anew.
    """

    failure_rate: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    corrupt: list[str] = Field(default_factory=list)
    retries: Annotated[int, Field(ge=0, le=100)] = 3
    backoff_s: Latency = 0.5


class Cadence(Strict):
    """An adapter whose requests come in a rhythm is brought back just before the next one, and for
    `keep_s` seconds after each answer others are evicted first."""

    keep_s: Latency = 60.0


class Prefetch(Strict):
    """Loads before anybody asks. All are held to `rate_limit_per_s` on each replica (null: none).

    `session_start`: when a user logs in, `login_lead_s` before the first request of a session, or
    of an adapter that was silent for `session_gap_s` where the traffic has no sessions. `cadence`:
    by the rhythm of requests. `top_k`: at the start, the adapters most asked for. `bulk`: at the
    start, all adapters into host memory, the most asked for first, as far as there is room.
    `regional`: at the start, copies from the store onto the local disk.
    """

    session_start: bool = False
    login_lead_s: Latency = 2.0
    session_gap_s: Duration = 900.0
    cadence: Cadence | None = None
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    bulk: bool = False
    regional: bool = False
    rate_limit_per_s: Rate | None = 5.0

    @property
    def ahead(self) -> bool:
        """Whether anything is loaded ahead."""
        return (
            self.session_start
            or self.cadence is not None
            or bool(self.top_k)
            or self.bulk
            or self.regional
        )


class Adapters(Strict):
    """Where adapters live. `initial_tier` is where they lie when the run starts (what does not fit
    there lies one tier below); `cold_start` is what happens to a request whose adapter is neither
    in GPU nor in host memory: it waits, the base model answers it, or it is rejected and told to
    try again after `retry_after_s` seconds."""

    hot: HotTier = HotTier()
    warm: WarmTier = WarmTier()
    nvme: NvmeTier = NvmeTier()
    store: StoreTier = StoreTier()
    loading: LoadFailures = LoadFailures()
    prefetch: Prefetch = Prefetch()
    initial_tier: Literal["warm", "nvme", "store"] = "nvme"
    cold_start: Literal["wait", "base_model", "reject"] = "wait"
    retry_after_s: Latency = 1.0
