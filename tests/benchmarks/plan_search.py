"""The search of `plan` beside an exhaustive sweep of the same space: both answers, the requests
that each simulates and the time that each takes.

The space is that of scenarios/plan-saas.yaml: 300 tenants, six kinds of GPU x two kinds of weights
x two of tensor parallelism x three hot sizes x up to 8 replicas. Aimed at: the same fleet with at
most 15 % of the requests, in under 3 minutes.

    python -m tests.benchmarks.plan_search [--jobs N]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from simlora.errors import UserError
from simlora.planning.plan import plan
from simlora.planning.search.cost import fleet_usd_per_month
from simlora.planning.search.promises import promises_of
from simlora.planning.search.space import configurations
from simlora.planning.search.trial import run_trial
from simlora.planning.search.verdict import evidence, slack
from simlora.planning.search.workers import Workers
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory

SCENARIO = Path(__file__).parents[2] / "scenarios" / "plan-saas.yaml"
REPLICATIONS = 3  # beside the scenario's own seed


@dataclass(frozen=True)
class Swept:
    """What an exhaustive sweep found. `feasible` are all fleets that meet every promise, by their
    names, with their cost; `cheapest` is the cheapest, of equals the one with the most slack."""

    points: int
    runs: int
    requests: int
    feasible: dict[str, float]
    cheapest: str | None


def sweep(scenario: Scenario, jobs: int, replications: int) -> Swept:
    """Run every configuration with every number of replicas on every seed, to the end: no bound, no
    order and nothing taken for granted."""
    promises = promises_of(expand(scenario))
    seeds = range(scenario.seed, scenario.seed + 1 + replications)
    fleets = []
    for index, configuration in enumerate(configurations(scenario)):
        for replicas in range(1, scenario.plan.max_replicas + 1):
            fleet = configuration.applied(scenario, replicas)
            try:
                plan_memory(expand(fleet), 0)
            except UserError:
                continue
            fleets.append((index, f"{replicas} x [{configuration.name}]", fleet))
    calls = [(fleet, seed, promises, None) for _, _, fleet in fleets for seed in seeds]
    with Workers(jobs) as workers:
        outcomes = workers.run(run_trial, calls)
    feasible: dict[str, float] = {}
    ranked = []
    for place, (index, name, fleet) in enumerate(fleets):
        own, *further = outcomes[place * len(seeds) : (place + 1) * len(seeds)]
        if not own.ok or not all(outcome.ok for outcome in further):
            continue
        if all(one.shown for one in evidence(promises, further, scenario.plan.confidence)):
            feasible[name] = fleet_usd_per_month(fleet)
            ranked.append((round(feasible[name], 2), slack(promises, own), index, name))
    return Swept(
        len(fleets),
        len(outcomes),
        sum(outcome.requests for outcome in outcomes),
        feasible,
        min(ranked)[-1] if ranked else None,
    )


def main() -> None:
    """Print both answers, their requests and their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    jobs = parser.parse_args().jobs
    scenario = load_scenario(SCENARIO, {"plan.replications": REPLICATIONS})
    started_s = time.perf_counter()
    found = plan(scenario, jobs=jobs, headroom=False)
    searched_s = time.perf_counter() - started_s
    print(f"search:     {found.best and found.best.name}")
    print(f"            {found.counted.runs:,} runs, {found.counted.requests:,} requests,")
    print(f"            {searched_s:.0f} s in {jobs} processes")
    started_s = time.perf_counter()
    swept = sweep(scenario, jobs, REPLICATIONS)
    swept_s = time.perf_counter() - started_s
    print(f"exhaustive: {swept.cheapest}, {len(swept.feasible)} of {swept.points} fleets do")
    print(f"            {swept.runs:,} runs, {swept.requests:,} requests, {swept_s:.0f} s")
    share = found.counted.requests / swept.requests
    same = found.best is not None and found.best.name == swept.cheapest
    print(f"the same fleet: {'yes' if same else 'NO'}; requests simulated: {share:.1%}")
    for best in found.by_gpu:
        gpu = best.candidate.configuration.gpu
        costs = [
            usd
            for name, usd in swept.feasible.items()
            if f" {gpu} " in f" {name[name.index('[') + 1 :]}"
        ]
        least = min(costs)
        verdict = (
            "as the sweep" if abs(least - best.usd_per_month) < 0.01 else f"SWEEP: {least:,.0f}"
        )
        print(f"  {gpu:12} {best.usd_per_month:8,.0f} USD a month, {verdict}")


if __name__ == "__main__":
    main()
