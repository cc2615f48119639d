"""A server with continuous batching, small enough to see through, over any queue discipline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from simlora.scenario.schema import Fairness
from simlora.serving.fairness import DISCIPLINES, FlowTable, QueueDiscipline
from simlora.serving.request import Request

INPUT_WEIGHT, OUTPUT_WEIGHT = 1.0, 2.0
STEP_S = 0.01


def flow_table(weights: Sequence[float], tenants_each: int = 1) -> FlowTable:
    """A tier for every weight, with so many tenants, each a flow."""
    tiers = tuple(tier for tier in range(len(weights)) for _ in range(tenants_each))
    return FlowTable(
        flow_of_tenant=tuple(range(len(tiers))),
        tier_of_flow=tiers,
        weights=tuple(weights[tier] for tier in tiers),
        tier_weights=tuple(weights),
    )


def make(policy: str, table: FlowTable, **options: Any) -> QueueDiscipline:
    return DISCIPLINES.make(policy, table, Fairness(policy=policy, **options))


@dataclass
class Source:
    """Draws the requests of one tenant."""

    tenant: int
    most_prompt_tokens: int
    most_output_tokens: int
    tier: int = 0


@dataclass
class Server:
    """Keeps `depth` requests of every tenant in `sources` waiting, admits what the discipline picks
    while the batch has memory for all of it, and generates a random number of decode steps at
    once. `service` are the weighted tokens that each tenant has had."""

    queue: QueueDiscipline
    sources: dict[int, Source]
    capacity_tokens: int
    seed: int = 0
    most_steps: int = 8
    depth: int = 2
    preempts: float = 0.0  # probability of a preemption after a bulk of steps
    watch: Callable[[], None] = lambda: None  # called whenever service has changed
    now: float = 0.0
    service: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    running: list[Request] = field(default_factory=list)
    waiting: Counter[int] = field(default_factory=Counter)
    picks: list[Request] = field(default_factory=list)
    _created: int = 0
    _held_tokens: int = 0  # prompt and all output of what runs

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)

    def run(self, total_service: float) -> None:
        """Serve until that many weighted tokens more have been served."""
        until = self._total() + total_service
        while self._total() < until:
            self._admit()
            self._generate()

    def submit(self, source: Source) -> Request:
        request = Request(
            self._created,
            self.now,
            source.tenant,
            source.tier,
            -1,
            self._rng.randint(1, source.most_prompt_tokens),
            self._rng.randint(1, source.most_output_tokens),
        )
        self._created += 1
        self.waiting[source.tenant] += 1
        self.queue.push(request, self.now)
        return request

    def _admit(self) -> None:
        self._refill()
        while (request := self.queue.peek(self.now)) is not None:
            tokens = request.prompt_tokens + request.output_tokens
            if self._held_tokens + tokens > self.capacity_tokens:
                return
            self._held_tokens += tokens
            assert self.queue.pop(self.now) is request
            self.waiting[request.tenant] -= 1
            self.running.append(request)
            self.picks.append(request)
            if request.preemptions == 0:
                self.service[request.tenant] += INPUT_WEIGHT * request.prompt_tokens
                self.watch()
            self._refill()

    def _refill(self) -> None:
        for tenant, source in self.sources.items():
            while self.waiting[tenant] < self.depth:
                self.submit(source)

    def _generate(self) -> None:
        left = min(request.output_tokens - request.emitted_tokens for request in self.running)
        steps = self._rng.randint(1, min(left, self.most_steps))
        self.now += steps * STEP_S
        tokens: Counter[int] = Counter()
        for request in self.running:
            request.emitted_tokens += steps
            tokens[request.tenant] += steps
        for tenant, count in tokens.items():
            self.queue.on_output(tenant, count)
            self.service[tenant] += OUTPUT_WEIGHT * count
        self.watch()
        for request in [r for r in self.running if r.emitted_tokens == r.output_tokens]:
            self.running.remove(request)
            self._held_tokens -= request.prompt_tokens + request.output_tokens
            self.queue.on_finish(request)
        if self.running and self._rng.random() < self.preempts:
            request = self.running.pop()
            self._held_tokens -= request.prompt_tokens + request.output_tokens
            request.preemptions += 1
            self.waiting[request.tenant] += 1
            self.queue.push(request, self.now)

    def _total(self) -> float:
        return sum(self.service.values())

    def share(self, tenants: Iterable[int], since: Mapping[int, float] | None = None) -> float:
        """The fraction of all service, after `since`, that the tenants have had."""
        before = since or {}
        served = sum(self.service[tenant] - before.get(tenant, 0.0) for tenant in tenants)
        return served / (self._total() - sum(before.values()))
