"""Who hurt whom: what the other tenants' latency would be without the requests of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simlora.errors import UserError
from simlora.planning.other_tenants import OtherTenants, read_others
from simlora.planning.paired import paired_difference
from simlora.planning.seeds import replicated
from simlora.results.recorder import Recorder
from simlora.results.result import scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.problems import given, one_of
from simlora.scenario.schema import Scenario
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Simulation
from simlora.validation.processes import run_each
from simlora.workload.blocks import RequestBlock, Traffic
from simlora.workload.traffic import open_traffic

_SEARCHED_NAMES = 10_000  # for a name like the one that was asked for


@dataclass(frozen=True, slots=True)
class Harm:
    """What one tenant did to the others, over `seeds`, one a replication; it made `requests` in all
    of them together.

    `table` has a row for all others together (`scope` is `all`), one for each tier without the
    tenant (`tier`), and one for each other tenant (`tenant`). `requests` are the others' that
    arrived after the warm-up, in all replications. `ttft_p99_with_s` and `ttft_p99_without_s` are
    means over the replications that have both, of the p99 of the completed ones among them,
    `ratio` is the one over the other, and `change_s` their difference, for `all` and the tiers
    with the 95 % t-interval `low_s` to `high_s` if there is more than one replication. (Single
    tenants get none: whoever looks at the most affected of many sees mostly chance in it.)
    `completed_with` and `completed_without` are shares of `requests`; NaN is no figure.
    """

    tenant: str
    seeds: tuple[int, ...]
    requests: int
    table: pd.DataFrame

    def of(self, scope: str) -> pd.DataFrame:
        """The rows of one scope that have requests."""
        rows = self.table[(self.table["scope"] == scope) & (self.table["requests"] > 0)]
        return rows.reset_index(drop=True)

    def most_affected(self, count: int) -> pd.DataFrame:
        """The tenants whose p99 grew by the most seconds, up to `count`; those whose did not grow
        are left out."""
        tenants = self.of("tenant")
        hurt = tenants[tenants["change_s"] > 0]
        ordered = hurt.sort_values("change_s", ascending=False, kind="stable")
        return ordered.head(count).reset_index(drop=True)


def harm(
    scenario: Scenario,
    tenant: str,
    replications: int | None = None,
    *,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Harm:
    """Simulate a scenario with all its traffic, and again without the requests of one tenant.

    Everybody else's requests arrive as before, bit by bit, on the same seeds. `replications` is
    `run.replications` unless given; the figures are the same for any number of `jobs`, which are
    processes. `progress` is told how many runs have finished.

    Raises:
        UserError: there is no such tenant, nobody else has a request, or whatever is wrong with the
            scenario.
        KeyboardInterrupt: a run was interrupted.
    """
    deployment = expand(scenario)
    index = _tenant_index(deployment, tenant)
    seeds = replicated(scenario.seed, replications or scenario.run.replications)
    calls = [(scenario, seed, index, left_out) for seed in seeds for left_out in (False, True)]
    found: dict[int, _Outcome] = {}
    with closing(run_each(_run, calls, jobs)) as outcomes:
        for place, outcome in outcomes:
            if outcome.mistake:
                raise UserError(outcome.mistake)
            if outcome.others is None:
                raise KeyboardInterrupt
            found[place] = outcome
            if progress is not None:
                progress(len(found))
    others = [outcome.others for _, outcome in sorted(found.items()) if outcome.others is not None]
    name = deployment.tenants[index].name
    if not any(run.all_requests for run in others):
        raise UserError(
            f"tenant: only {name} has requests that are measured, so it can hurt nobody"
        )
    requests = sum(outcome.requests for outcome in found.values())
    table = _table(deployment, index, others[0::2], others[1::2])
    return Harm(name, tuple(seeds), requests, table)


def without(traffic: Traffic, tenant: int) -> Traffic:
    """The same traffic less the requests of one tenant."""

    def blocks() -> Iterator[RequestBlock]:
        for block in traffic.blocks():
            kept = block.tenant != tenant
            if kept.all():
                yield block
            elif kept.any():
                yield _rows(block, kept)

    return Traffic(blocks, None, traffic.duration_s, traffic.prefix_block_tokens)


def _rows(block: RequestBlock, kept: Any) -> RequestBlock:
    hashes = block.prefix_hashes
    return RequestBlock(
        block.arrival_s[kept],
        block.tenant[kept],
        block.adapter[kept],
        block.prompt_tokens[kept],
        block.output_tokens[kept],
        block.session[kept],
        block.priority[kept],
        None if hashes is None else [hashes[row] for row in np.flatnonzero(kept)],
    )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a run left: the other tenants' figures (None if it was interrupted, or ended by the
    user's mistake), and how many requests the tenant made."""

    others: OtherTenants | None = None
    requests: int = 0
    mistake: str = ""


def _run(scenario: Scenario, seed: int, tenant: int, left_out: bool) -> _Outcome:
    try:
        deployment = expand(scenario.model_copy(update={"seed": seed}))
        traffic = open_traffic(deployment)
        with scratch_directory() as scratch:
            recorder = Recorder(deployment, Path(scratch), warmup_s=scenario.run.warmup_s)
            simulation = Simulation(
                deployment, without(traffic, tenant) if left_out else traffic, recorder
            )
            interrupted = simulation.run()
            result = recorder.close(gather_facts(deployment, simulation, 0.0, interrupted))
            if interrupted:
                return _Outcome()
            return _Outcome(*read_others(result, deployment, tenant))
    except UserError as error:
        return _Outcome(mistake=str(error))


def _table(
    deployment: Deployment,
    tenant: int,
    present: Sequence[OtherTenants],
    absent: Sequence[OtherTenants],
) -> pd.DataFrame:
    """`present` and `absent`: with and without the tenant, one a replication."""
    names = [other.name for other in deployment.tenants]
    tiers = deployment.tier_names
    columns: dict[str, Any] = {
        "scope": np.repeat(["all", "tier", "tenant"], [1, len(tiers), len(names)]),
        "name": ["all", *tiers, *names],
        "tier": [None, *tiers, *(tiers[other.tier] for other in deployment.tenants)],
    }
    asked = np.sum([run.requests for run in present], axis=0)
    with_s = np.array([run.ttft_p99_s for run in present])
    without_s = np.array([run.ttft_p99_s for run in absent])
    both = ~np.isnan(with_s) & ~np.isnan(without_s)
    pairs = np.where(both.any(axis=0), both.sum(axis=0), np.nan)
    mean_with_s = np.where(both, with_s, 0.0).sum(axis=0) / pairs
    mean_without_s = np.where(both, without_s, 0.0).sum(axis=0) / pairs
    columns["requests"] = asked
    columns["ttft_p99_with_s"] = mean_with_s
    columns["ttft_p99_without_s"] = mean_without_s
    columns["ratio"] = mean_with_s / np.where(mean_without_s > 0, mean_without_s, np.nan)
    columns["change_s"] = mean_with_s - mean_without_s
    intervals = np.full((2, len(asked)), np.nan)
    for row in range(1 + len(tiers)):
        difference = paired_difference(_figures(without_s[:, row]), _figures(with_s[:, row]))
        if difference.low is not None and difference.high is not None:
            intervals[:, row] = difference.low, difference.high
    columns["low_s"], columns["high_s"] = intervals
    whole = np.where(asked > 0, asked, np.nan)
    columns["completed_with"] = np.sum([run.completed for run in present], axis=0) / whole
    columns["completed_without"] = np.sum([run.completed for run in absent], axis=0) / whole
    kept = np.arange(len(asked)) != 1 + len(tiers) + tenant
    return pd.DataFrame(columns)[kept].reset_index(drop=True)


def _figures(column: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in column]


def _tenant_index(deployment: Deployment, name: str) -> int:
    known = deployment.tenant_index
    if name in known:
        return known[name]
    near = get_close_matches(name, list(islice(known, _SEARCHED_NAMES)), 1)
    hint = f", did you mean {near[0]}?" if near else ""
    some = one_of((tenant.name for tenant in deployment.tenants), limit=3)
    raise UserError(f"tenant: no tenant {given(name)}{hint} (the scenario has {some})")
