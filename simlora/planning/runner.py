"""Runs every variant on every seed, in several processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from simlora.errors import UserError
from simlora.planning.metrics import Metric, figures_of
from simlora.planning.ranks import Hits, hits_by_rank
from simlora.planning.seeds import replicated
from simlora.planning.variants import Variant
from simlora.report.limits import limits_of
from simlora.results.recorder import Recorder
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.sim import simulate
from simlora.sim.simulation import Simulation
from simlora.validation.processes import run_each
from simlora.workload.traffic import open_traffic


@dataclass(frozen=True, slots=True)
class Run:
    """One replication of one variant: its figures by the metrics' keys, a hash of its traffic
    (arrivals, tenants, adapters and lengths), the lookups and hits of adapters by bucket of its
    tenants' ranks, and the features in which its timing left what was measured. `limits` says what
    held requests back, in paragraphs; of the first replication only."""

    variant: str
    replication: int
    seed: int
    figures: dict[str, float | None]
    traffic: str
    by_rank: tuple[Hits, ...] = ()
    extrapolates: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(slots=True)
class Runs:
    """The runs that finished, by replication and then by variant."""

    finished: list[Run] = field(default_factory=list)
    interrupted: bool = False


def prepare(variants: Sequence[Variant]) -> list[Deployment]:
    """Build every variant as far as can be without running it.

    Raises UserError with the variant's name for what is wrong with one: a model that does not fit,
    a policy that does not exist, a trace that cannot be read.
    """
    deployments = []
    for variant in variants:
        try:
            deployments.append(build(variant.scenario))
        except UserError as error:
            raise variant.explain(error) from None
    return deployments


def build(scenario: Scenario) -> Deployment:
    """Build a scenario as far as can be without running it. Raises UserError."""
    deployment = expand(scenario)
    with TemporaryDirectory(prefix="simlora-") as scratch:
        recorder = Recorder(deployment, Path(scratch), warmup_s=scenario.run.warmup_s)
        Simulation(deployment, open_traffic(deployment), recorder)
    return deployment


def run_variants(
    variants: Sequence[Variant],
    metrics: Sequence[Metric],
    seeds: Sequence[int],
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Runs:
    """Run each variant on each seed; the runs are the same for any number of `jobs`.

    One replication of all variants is run before the next, so that Ctrl-C leaves whole ones.
    `progress` is told how many runs have finished. Raises UserError with the variant's name.
    """
    replicated(seeds[0], len(seeds))
    places = [(r, v) for r in range(len(seeds)) for v in range(len(variants))]
    calls = [(variants[v].scenario, seeds[r], tuple(metrics), r == 0) for r, v in places]
    found: dict[tuple[int, int], Run] = {}
    runs = Runs()
    try:
        with closing(run_each(_run, calls, jobs)) as outcomes:
            for index, outcome in outcomes:
                replication, v = places[index]
                if outcome.mistake:
                    raise variants[v].explain(UserError(outcome.mistake))
                if outcome.figures is None:
                    raise KeyboardInterrupt
                found[replication, v] = Run(
                    variants[v].name,
                    replication,
                    seeds[replication],
                    outcome.figures,
                    outcome.traffic,
                    outcome.by_rank,
                    outcome.extrapolates,
                    outcome.limits,
                )
                if progress is not None:
                    progress(len(found))
    except KeyboardInterrupt:
        runs.interrupted = True
    runs.finished = [found[place] for place in sorted(found)]
    return runs


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a run left; no figures if it was interrupted, or ended by the user's mistake."""

    figures: dict[str, float | None] | None = None
    traffic: str = ""
    by_rank: tuple[Hits, ...] = ()
    extrapolates: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    mistake: str = ""


def _run(scenario: Scenario, seed: int, metrics: tuple[Metric, ...], first: bool) -> _Outcome:
    scenario = scenario.model_copy(update={"seed": seed})
    try:
        result = simulate(scenario)
        deployment = expand(scenario)
        traffic = traffic_hash(deployment)
    except UserError as error:
        return _Outcome(mistake=str(error))
    if result.summary["simulation"]["interrupted"]:
        return _Outcome()
    figures = figures_of(metrics, result.summary, len(deployment.tenants))
    extrapolates = tuple(result.summary["simulation"]["timing"]["extrapolates"])
    limits = tuple(limits_of(result)) if first else ()
    return _Outcome(figures, traffic, hits_by_rank(result), extrapolates, limits)


def traffic_hash(deployment: Deployment) -> str:
    """A hash of every request: when it arrives, whose it is, for which adapter, and its lengths."""
    digest = hashlib.blake2b(digest_size=16)
    for block in open_traffic(deployment).blocks():
        for column in (
            block.arrival_s,
            block.tenant,
            block.adapter,
            block.prompt_tokens,
            block.output_tokens,
            block.session,
        ):
            digest.update(column.tobytes())
    return digest.hexdigest()
