"""What a server counts, for Prometheus: under vLLM's names where it has one, so that dashboards and
gateways made for it work."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from simlora.scenario.deployment import Deployment
from simlora.serve.replica import Replica
from simlora.serving.page_pool import KV
from simlora.serving.request import COMPLETED, SOURCE_NAMES, Request

_TTFT_S = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
)
_ITL_S = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
)
_E2E_S = (
    0.3,
    0.5,
    0.8,
    1,
    1.5,
    2,
    2.5,
    5,
    10,
    15,
    20,
    30,
    40,
    50,
    60,
    120,
    240,
    480,
    960,
    1920,
    7680,
)


class Buckets:
    """A histogram: how many values were at most each of `bounds`."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self, name: str, about: str, model: str) -> HistogramMetricFamily:
        """As Prometheus reads it."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        family = HistogramMetricFamily(name, about, labels=("model_name",))
        family.add_metric([model], buckets, self._sum)
        return family


class Metrics(Collector):
    """Counts what the replica tells, and reads the rest when it is asked. Times are the replica's
    (a simulated one's are those of the simulation), without what HTTP and the network add."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._ttft, self._itl, self._e2e = Buckets(_TTFT_S), Buckets(_ITL_S), Buckets(_E2E_S)
        self._queue = Buckets(_E2E_S)
        self._by_adapter: Counter[int] = Counter()
        self._ends: Counter[tuple[str, str]] = Counter()
        self._prompt_tokens = self._output_tokens = 0
        self._replica: Replica | None = None
        self._registry = CollectorRegistry()

    def read_from(self, replica: Replica) -> None:
        """Where the gauges are read; to be called once."""
        self._replica = replica
        self._registry.register(self)

    def text(self) -> bytes:
        """All of it, in Prometheus' text form."""
        return generate_latest(self._registry)

    # --- as it happens ------------------------------------------------------------------

    def token(self, request: Request, gap_s: float | None, now: float) -> None:
        self._output_tokens += 1
        if gap_s is None:
            self._ttft.add(now - request.arrival_s)
            self._prompt_tokens += request.prompt_tokens
        else:
            self._itl.add(gap_s)

    def ended(self, request: Request) -> None:
        self._by_adapter[request.adapter] += 1
        if request.status == COMPLETED:
            self._e2e.add(request.finish_s - request.arrival_s)
            self._queue.add(request.queue_s)
            self._ends["completed", ""] += 1
        else:
            self._ends["turned_away" if request.replica < 0 else "failed", request.reason] += 1

    # --- when it is asked for -----------------------------------------------------------

    def collect(self) -> Iterable[Metric]:
        """The metrics, as prometheus_client wants them."""
        assert self._replica is not None
        model = self._deployment.models[0].name
        yield from self._requests(self._replica, model)
        yield from self._adapters(self._replica, model)
        yield _counter(
            "simlora:clock_lost_seconds",
            "Time by which the simulation fell behind the clock for good",
            self._replica.lost_s,
        )

    def _requests(self, replica: Replica, model: str) -> Iterable[Metric]:
        scheduler = replica.server.scheduler
        pool, prefix = scheduler.memory.pool, scheduler.memory.prefix
        label = ("model_name",), (model,)
        running, waiting = len(scheduler.running), replica.waiting
        yield _gauge("vllm:num_requests_running", "Requests in the batch", running, *label)
        yield _gauge("vllm:num_requests_waiting", "Requests not in the batch", waiting, *label)
        yield _gauge(
            "vllm:kv_cache_usage_perc",
            "Share of the pool that running requests hold as KV",
            pool.held[KV] / pool.pages,
            *label,
        )
        if prefix is not None:
            tokens = prefix.lookup_tokens, prefix.hit_tokens
            yield _counter("vllm:prefix_cache_queries", "Tokens looked up", tokens[0], *label)
            yield _counter("vllm:prefix_cache_hits", "Tokens found cached", tokens[1], *label)
        yield _counter("vllm:num_preemptions", "Preemptions", scheduler.preemptions, *label)
        yield _counter("vllm:prompt_tokens", "Tokens of prompts", self._prompt_tokens, *label)
        yield _counter("vllm:generation_tokens", "Tokens made", self._output_tokens, *label)
        completed = self._ends["completed", ""]
        yield _counter("vllm:request_success", "Requests answered", completed, *label)
        for buckets, name, about in (
            (self._ttft, "vllm:time_to_first_token_seconds", "Time to first token"),
            (self._itl, "vllm:inter_token_latency_seconds", "Time between two tokens"),
            (self._e2e, "vllm:e2e_request_latency_seconds", "Time of a whole request"),
            (self._queue, "vllm:request_queue_time_seconds", "Time before the first admission"),
        ):
            yield buckets.family(name, about, model)
        family = CounterMetricFamily(
            "simlora:requests_not_answered", "Requests by why not", labels=("how", "reason")
        )
        for (how, reason), count in sorted(self._ends.items()):
            if how != "completed":
                family.add_metric([how, reason], count)
        yield family

    def _adapters(self, replica: Replica, model: str) -> Iterable[Metric]:
        tiers, names = replica.server.scheduler.tiers, self._deployment.adapters
        requests = CounterMetricFamily(
            "simlora:adapter_requests", "Requests that ended, by adapter", labels=("adapter",)
        )
        for index, count in sorted(self._by_adapter.items()):
            requests.add_metric([names[index].name if index >= 0 else model], count)
        yield requests
        resident = GaugeMetricFamily(
            "simlora:adapters_resident", "Adapters in each tier of memory", labels=("tier",)
        )
        resident.add_metric(["hot"], tiers.hot.count)
        resident.add_metric(["warm"], len(tiers.lower.warm))
        resident.add_metric(["nvme"], len(tiers.lower.nvme))
        yield resident
        lookups = CounterMetricFamily(
            "simlora:adapter_lookups", "Where requests found their adapters", labels=("found",)
        )
        for source, count in zip(SOURCE_NAMES[1:], tiers.stats.found[1:], strict=True):
            lookups.add_metric([source], count)
        yield lookups
        stats = tiers.stats
        yield _counter("simlora:adapter_loads", "Loads into GPU memory", stats.loads)
        yield _counter("simlora:adapter_evictions", "Evictions from it", stats.evictions)
        yield _counter("simlora:adapter_loaded_bytes", "Bytes of all loads", stats.loaded_bytes)


def _gauge(
    name: str, about: str, value: float, labels: Sequence[str], values: Sequence[str]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=labels)
    family.add_metric(values, value)
    return family


def _counter(
    name: str, about: str, value: float, labels: Sequence[str] = (), values: Sequence[str] = ()
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=labels)
    family.add_metric(values, value)
    return family
