"""One run of a fleet, ended as soon as it is certain that a promise is broken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simlora.errors import UserError
from simlora.planning.search.promises import Promise
from simlora.results.phases import PHASES
from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Simulation
from simlora.workload.traffic import open_traffic

_METRICS = {"ttft_p99_s": "ttft_s", "tpot_p99_s": "tpot_s", "e2e_p99_s": "e2e_s"}
# A p99 is interpolated between two requests, so that one or two more than its 1 % may be late.
_INTERPOLATED = 2


@dataclass(frozen=True, slots=True)
class Kept:
    """How a promise was kept in one run: of the requests `judged`, so many broke it. `met` is the
    summary's verdict; None: nothing was measured. `measured` is None also for infinitely late."""

    broken: int
    judged: int
    measured: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run left. `kept` has one entry a promise, and is empty if the run was ended when
    promise `broken` (its index) was certain not to be kept. `phases` are mean seconds by tier and
    phase; shares are of what there is on all replicas."""

    seed: int
    requests: int  # simulated
    broken: int | None = None
    kept: tuple[Kept, ...] = ()
    ttft_p99_s: float | None = None
    attainment: tuple[float | None, ...] = ()  # by tier
    phases: tuple[Mapping[str, float], ...] = ()
    kv_share: float = 0.0
    batch_share: float = 0.0
    preemptions: int = 0
    hit_ratio: float | None = None
    interrupted: bool = False
    mistake: str = ""

    @property
    def ok(self) -> bool:
        """Whether every promise was kept; a tier that nobody asked of keeps its own."""
        return bool(self.kept) and all(
            kept.met or (kept.judged == 0 and kept.met is None) for kept in self.kept
        )


class _Broken(Exception):
    """A promise, by its index, is certain not to be kept."""


class _Watch(Recorder):
    """Counts the requests that broke each promise as they end. `most`: how many may; None:
    whatever."""

    def __init__(
        self,
        deployment: Deployment,
        directory: Path,
        promises: Sequence[Promise],
        most: Sequence[int] | None,
    ) -> None:
        warmup_s = deployment.scenario.run.warmup_s
        super().__init__(deployment, directory, warmup_s=warmup_s)
        self._promised = promises
        self._most = most
        self._from_s = warmup_s
        self._late = [0] * len(promises)
        self._seen = 0  # of `pending`
        self._of_tier: list[list[tuple[int, str, float]]] = [[] for _ in deployment.tiers]
        for index, promise in enumerate(promises):
            self._of_tier[promise.tier].append((index, promise.bound, promise.value))

    def sample(self, time_s: float, replica: int, *gauges: int) -> None:  # type: ignore[override]
        super().sample(time_s, replica, *gauges)
        if self._most is not None and replica == 0:
            self._look()

    def flush(self) -> None:
        if self._most is not None:
            self._look()
        super().flush()
        self._seen = 0

    def _look(self) -> None:
        for request in self.pending[self._seen :]:
            if request.arrival_s >= self._from_s and not request.shadow:
                for index, bound, value in self._of_tier[request.tier]:
                    if _breaks(request, bound, value):
                        self._late[index] += 1
        self._seen = len(self.pending)
        assert self._most is not None
        for index, late in enumerate(self._late):
            if late > self._most[index]:
                raise _Broken(index)

    def kept(self, summary: dict[str, Any]) -> tuple[Kept, ...]:
        """How each promise was kept in the run, of which this is the summary."""
        found = []
        for promise in self._promised:
            entry = summary["tiers"][promise.tier_name]["sla"][promise.bound]
            tier, bound, tiers = promise.tier, promise.bound, self._tiers
            overdue = int(tiers.overdue[bound][tier]) if bound in tiers.overdue else 0
            if bound == "availability":
                counts = {status: int(count[tier]) for status, count in tiers.counts.items()}
                judged = sum(counts.values()) - counts["unfinished"] + overdue
                broken = judged - counts["completed"]
            else:
                judged = tiers.distribution(_METRICS[bound], tier).size + overdue
                broken = int(tiers.late[bound][tier]) + overdue
            found.append(Kept(broken, judged, entry["measured"], entry["met"]))
        return tuple(found)


def most_broken(promises: Sequence[Promise], by_tier: Sequence[int]) -> tuple[int, ...]:
    """How many requests may break each promise at most, with so many of each tier, before the run
    is certain to miss it whatever comes."""
    return tuple(
        int(promise.allowed * by_tier[promise.tier] + 1e-9)
        + (0 if promise.bound == "availability" else _INTERPOLATED)
        for promise in promises
    )


def run_trial(
    scenario: Scenario,
    seed: int,
    promises: Sequence[Promise],
    most: Sequence[int] | None,
) -> Outcome:
    """Simulate the scenario with this seed, to its end or (`most`, see `most_broken`) until it is
    certain that a promise is broken. A user's mistake is told in the outcome."""
    try:
        deployment = expand(scenario.model_copy(update={"seed": seed}))
        with TemporaryDirectory(prefix="simlora-", ignore_cleanup_errors=True) as scratch:
            return _run(deployment, Path(scratch), seed, promises, most)
    except UserError as error:
        return Outcome(seed, 0, mistake=str(error))


def _run(
    deployment: Deployment,
    directory: Path,
    seed: int,
    promises: Sequence[Promise],
    most: Sequence[int] | None,
) -> Outcome:
    recorder = _Watch(deployment, directory, promises, most)
    simulation = Simulation(deployment, open_traffic(deployment), recorder)
    try:
        if simulation.run():
            return Outcome(seed, simulation.arrived, interrupted=True)
        recorder.flush()
    except _Broken as broken:
        return Outcome(seed, simulation.arrived, broken=broken.args[0])
    summary = recorder.close(gather_facts(deployment, simulation, 0.0, False)).summary
    tiers = [summary["tiers"][name] for name in deployment.tier_names]
    memory, batch = summary["memory"], summary["batch"]
    return Outcome(
        seed,
        simulation.arrived,
        kept=recorder.kept(summary),
        ttft_p99_s=summary["latency"]["ttft_s"]["p99"],
        attainment=tuple(tier["sla_attainment"] for tier in tiers),
        phases=tuple({phase: tier[phase]["mean"] or 0.0 for phase in PHASES} for tier in tiers),
        kv_share=memory["kv_pages_peak"] / max(memory["pool_pages"], 1),
        batch_share=batch["mean_running"] / batch["max_num_seqs"],
        preemptions=batch["preemptions"],
        hit_ratio=summary["adapters"]["hit_ratio"],
    )


def _breaks(request: Request, bound: str, value: float) -> bool:
    """Whether a request that has ended broke a promise."""
    if bound == "availability":
        return request.status in (REJECTED, FAILED)
    if request.status != COMPLETED:
        return False
    if bound == "ttft_p99_s":
        return request.first_token_s - request.arrival_s > value
    if bound == "e2e_p99_s":
        return request.finish_s - request.arrival_s > value
    gaps = request.output_tokens - 1
    return gaps > 0 and (request.finish_s - request.first_token_s) / gaps > value
