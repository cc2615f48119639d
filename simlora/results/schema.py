"""Plain facts a driver hands over at the end of a run, beside the requests it recorded.

Times are seconds of the run's own clock, sizes bytes, money USD. "Peak" is the highest value seen
in the run. Every count is over the whole run, warm-up included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simlora.serving.versions import VersionFacts

MEASURED = "measured"  # in place of the hash of a profile, where time was not simulated


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """Adapter lookups and loads, summed over replicas.

    `hits_by_tier` counts lookups by where the adapter was found (`hot`, `warm`, `nvme`, `store`)
    and sums to `lookups`; `hits` are those found hot, in GPU memory and ready to use. `load_wait_s`
    is the sum over requests of the time they waited for their adapter; `load_terms_s` what the
    loads themselves took, term by term, summed over loads. Of `prefetches`, loads begun before
    anybody asked, a request came in time for `prefetches_used`, and `prefetches_wasted` were
    evicted before; the rest were still waiting for a first request at the end.
    """

    lookups: int = 0
    hits: int = 0
    hits_by_tier: Mapping[str, int] = field(default_factory=dict)
    loads: int = 0
    evictions: int = 0
    load_wait_s: float = 0.0
    bytes_loaded: int = 0
    load_terms_s: Mapping[str, float] = field(default_factory=dict)
    transfers_failed: int = 0
    loads_given_up: int = 0
    prefetches: int = 0
    prefetches_used: int = 0
    prefetches_wasted: int = 0


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """The page pool of one replica. `weight_bytes` are the base model's, over its GPUs together;
    `kv_capacity_tokens` what the pool holds with no adapter in it.
    `pages_allocated == pages_freed + pages_held` at the end of the run."""

    page_bytes: int
    pool_pages: int
    weight_bytes: int
    kv_capacity_tokens: int
    kv_pages_peak: int = 0
    adapter_pages_peak: int = 0
    prefix_pages_peak: int = 0
    pages_allocated: int = 0
    pages_freed: int = 0
    pages_held: int = 0


@dataclass(frozen=True, slots=True)
class PrefixFacts:
    """Prompt tokens looked up in the prefix caches, and those found there."""

    lookup_tokens: int = 0
    hit_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """Engine steps, summed over replicas. `busy_s` is the time spent in steps; `mean_running` the
    mean number of running requests per replica over its busy time. `merges` counts how often an
    adapter was folded into the base weights or taken out of them again, `merged_s` is the time that
    one was in them; `trust_turns` counts how often another trust class had its turn."""

    steps: int = 0
    busy_s: float = 0.0
    mean_running: float = 0.0
    merges: int = 0
    merged_s: float = 0.0
    trust_turns: int = 0


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One pool of the fleet, with the price that was in force. `replica_s`: the seconds that its
    replicas were rented, added up."""

    gpu: str
    replicas: int
    tensor_parallel: int
    usd_per_gpu_hour: float
    replica_s: float

    @property
    def gpus(self) -> int:
        return self.replicas * self.tensor_parallel


@dataclass(frozen=True, slots=True)
class TimingFacts:
    """Which timing profile was used; `hash` identifies its figures.

    `scaled_from`: what it was measured on, if that is not what was simulated. `extrapolates`:
    features that left the range of its measurements. `error`: its relative errors, by name.
    """

    profile: str
    hash: str
    scaled_from: str | None = None
    extrapolates: tuple[str, ...] = ()
    error: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a driver knows at the end of a run that no single request tells.

    `span_s` is the run's clock at the end, `wall_s` the real time the run took, `events` the
    number of driver events. `memory` has one entry per replica.
    """

    wall_s: float
    events: int
    span_s: float
    fleet: tuple[PoolFacts, ...]
    timing: TimingFacts
    memory: tuple[MemoryFacts, ...]
    adapters: AdapterFacts = AdapterFacts()
    prefix: PrefixFacts = PrefixFacts()
    batch: BatchFacts = BatchFacts()
    preemptions: int = 0
    interrupted: bool = False
    versions: tuple[VersionFacts, ...] = ()
