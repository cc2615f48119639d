"""What the dashboard simulates: nothing so large that it would hold up everybody else, and nothing
of the server's that a stranger could ask for."""

from __future__ import annotations

from typing import Any

from simlora.errors import UserError
from simlora.scenario.schema import BurstArrivals, Scenario
from simlora.scenario.traffic import DEFAULT_DURATION_S

MOST_REQUESTS = 200_000
MOST_TENANTS = 20_000
MOST_ADAPTERS = 40_000
MOST_REPLICAS = 200
MOST_REPLICATIONS = 10

_PARTS = ("arrivals", "eviction", "order", "policy", "profile", "routing")
_FILES = ("empirical", "trace")
_NO_FILES = ("catalog", "description", "events")  # blocks whose texts may look like paths


def expected_requests(scenario: Scenario) -> float:
    """How many requests synthetic traffic will make, on average; of a trace, how many are replayed
    at most."""
    workload = scenario.workload
    if workload.trace is not None:
        return float(workload.max_requests or "inf")
    rate_rps = workload.rate_rps
    if rate_rps is None:
        rate_rps = sum((group.rate_rps_each or 0.0) * group.count for group in scenario.tenants)
    duration_s = workload.duration_s
    if duration_s is None and workload.max_requests is None:
        duration_s = DEFAULT_DURATION_S
    expected = float("inf") if duration_s is None else rate_rps * duration_s
    expected += burst_requests(scenario)
    return min(expected, workload.max_requests or expected)


def burst_requests(scenario: Scenario) -> int:
    """How many of them are in bursts of single tenants."""
    arrivals = scenario.workload.arrivals
    if not isinstance(arrivals, BurstArrivals):
        return 0
    counts = {group.name: group.count for group in scenario.tenants}
    return sum(burst.requests * counts.get(burst.tenant, 1) for burst in arrivals.bursts)


def check_size(scenario: Scenario, runs: int = 1) -> None:
    """Raises UserError, one sentence, if `runs` runs of the scenario are too much for a shared
    server."""
    requests = expected_requests(scenario) * runs
    tenants = sum(group.count for group in scenario.tenants)
    adapters = sum(group.count * group.adapters for group in scenario.tenants)
    replicas = sum(pool.replicas for pool in scenario.fleet)
    of_runs = f" in {runs} runs" if runs > 1 else ""
    less = "shorten the time or lower the rate"
    if scenario.workload.trace is not None:
        less = "replay fewer requests of the trace"
    for amount, most, what, remedy in (
        (requests, MOST_REQUESTS, f"requests{of_runs}", less),
        (tenants, MOST_TENANTS, "tenants", "lower tenants.*.count"),
        (adapters, MOST_ADAPTERS, "adapters", "lower tenants.*.adapters"),
        (replicas, MOST_REPLICAS, "replicas", "lower fleet.*.replicas"),
    ):
        if amount > most:
            raise UserError(
                f"{amount:,.0f} {what} are more than the {most:,} that this dashboard simulates: "
                f"{remedy}, or use the command line, which has no such limit"
            )
    if not scenario.run.fast_forward or scenario.run.decisions:
        raise UserError(
            "run: fast_forward: false and decisions: true are too slow for the dashboard; use the "
            "command line"
        )


def check_self_contained(data: Any, source: str) -> None:
    """Raises UserError if the scenario in `data` names a file or a class of the server's: what came
    through a browser must not."""
    for path, text in _texts(data, ()):
        if path and (path[-1] in _FILES or _is_path(path, text)):
            where = ".".join(path)
            raise UserError(
                f"{source}: {where}: names a file, {text}, which the dashboard does not read; use "
                "the command line for it"
            )
        if ":" in text and any(part in _PARTS for part in path[-2:]):
            where = ".".join(path)
            raise UserError(
                f"{source}: {where}: names a class, {text}, which the dashboard does not load; use "
                "the command line for it"
            )


def _is_path(path: tuple[str, ...], text: str) -> bool:
    """Whether a text would be opened as a file: models and timing profiles are named in many
    places, so whatever looks like a path is one."""
    return path[0] not in _NO_FILES and ("/" in text or "\\" in text or text.endswith(".json"))


def _texts(data: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    """Every text in the data with its path."""
    if isinstance(data, str):
        return [(path, data)]
    if isinstance(data, dict):
        parts = [(str(key), value) for key, value in data.items()]
    elif isinstance(data, list):
        parts = [(str(index), value) for index, value in enumerate(data)]
    else:
        return []
    return [found for key, value in parts for found in _texts(value, (*path, key))]
