"""An uploaded trace in the place of a scenario's own load: which scenario replays it, and what its
tenants are called there."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from simlora.errors import UserError
from simlora.scenario.schema import Scenario, TenantGroup, Workload

EVENLY, BUSIEST, NAMED = "spread evenly", "the busiest first", "as the trace names them"
DIVISIONS = (EVENLY, BUSIEST)
CONTENT, NAMES = "_load.parquet", "_load.json"  # files that a worker is given
_PLACE = PurePosixPath("/uploaded")  # nowhere: workers put the trace into their scratch directory
_NUMBERED = re.compile(r"(.+)-(\d{4,})")
_SUFFIX = re.compile(r"(\.(csv|gz|parquet|jsonl|json))+$")


@dataclass(frozen=True, slots=True)
class TraceLoad:
    """The start of an uploaded trace, as it can be replayed.

    `content` is a Parquet trace whose tenants are called by their rank, 0 the busiest, and whose
    adapters by their rank among the tenant's; `digest` is a hash of it. `tenants` are the names in
    the upload by rank, and `adapters` how many each asks for (None: the trace names none). Of
    `total` requests the first `requests` are here; `span_s` is the arrival of the last of them,
    `longest_tokens` the most that one has in prompt and answer.
    """

    name: str
    content: bytes = field(repr=False)
    digest: str
    total: int
    requests: int
    span_s: float
    longest_tokens: int
    tenants: tuple[str, ...] = field(repr=False)
    adapters: tuple[int, ...] | None = field(repr=False)

    @property
    def file(self) -> str:
        """What a file of the replayed trace is called."""
        return f"{_SUFFIX.sub('', self.name) or 'trace'}-load.parquet"


@dataclass(frozen=True, slots=True)
class Replay:
    """How a trace is replayed: so many times as fast, the first `requests` of it, and how its
    tenants are divided among the scenario's groups."""

    requests: int
    speed: float = 1.0
    division: str = EVENLY


def digest_of(content: bytes) -> str:
    """A short hash."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def names_fit(scenario: Scenario, tenants: Sequence[str]) -> bool:
    """Whether the names are such as the scenario's groups give to their tenants."""
    groups = {group.name for group in scenario.tenants}
    found = [_NUMBERED.fullmatch(name) for name in tenants]
    return all(
        one is not None and one[1] in groups and one[2] == f"{int(one[2]):04d}" for one in found
    )


def divided(counts: Sequence[int], tenants: int) -> list[int]:
    """So many tenants divided in proportion to the groups' counts, by the largest remainders; each
    group gets one at least, as long as there are enough.

    >>> divided([20, 60, 120], 100)
    [10, 30, 60]
    >>> divided([20, 60, 120], 4)
    [1, 1, 2]
    """
    least = [0] * len(counts)
    for group in sorted(range(len(counts)), key=lambda group: -counts[group])[:tenants]:
        least[group] = 1
    left, whole = tenants - sum(least), sum(counts)
    exact = [count * tenants / whole for count in counts]
    more = [max(share - kept, 0.0) for share, kept in zip(exact, least, strict=True)]
    scale = left / sum(more) if left else 0.0
    given = [kept + int(share * scale) for kept, share in zip(least, more, strict=True)]
    by_rest = sorted(range(len(counts)), key=lambda group: -(more[group] * scale % 1))
    for group in by_rest[: tenants - sum(given)]:
        given[group] += 1
    return given


def tenant_names(scenario: Scenario, load: TraceLoad, division: str) -> list[str]:
    """What the trace's tenants are called in the scenario, by rank."""
    if division == NAMED:
        return list(load.tenants)
    counts = divided([group.count for group in scenario.tenants], len(load.tenants))
    places = [(group, k) for group, count in enumerate(counts) for k in range(count)]
    if division == EVENLY:  # the k-th of n stands for the ranks around (k + 1/2) / n of them all
        places.sort(key=lambda place: ((place[1] + 0.5) / counts[place[0]], place[0]))
    return [f"{scenario.tenants[group].name}-{k:04d}" for group, k in places]


def replaying(scenario: Scenario, load: TraceLoad, how: Replay) -> Scenario:
    """The scenario with the trace as its load: groups have as many tenants as were given to them,
    and as many adapters as one of these asks for.

    Raises UserError where the scenario cannot have other tenants.
    """
    names = tenant_names(scenario, load, how.division)
    held: dict[str, list[int]] = {}
    for rank, name in enumerate(names):
        group, _, number = name.rpartition("-")
        so_far = held.setdefault(group, [0, 0])
        so_far[0] = max(so_far[0], int(number) + 1)
        so_far[1] = max(so_far[1], load.adapters[rank] if load.adapters is not None else 0)
    groups = [
        _with_tenants(group, held.get(group.name, [0, 0]), load, how)
        for group in scenario.tenants
        if group.name in held or how.division == NAMED
    ]
    own = scenario.workload
    workload = Workload(
        trace=str(_PLACE / _digest(load, names) / load.file),
        rate_scale=how.speed,
        max_requests=min(how.requests, load.requests),
        clients=own.clients,
        on_end=own.on_end,
    )
    changed = scenario.model_copy(update={"tenants": groups, "workload": workload})
    try:
        return changed.with_overrides({})  # which checks it
    except UserError as error:
        raise UserError(f"{load.name}: cannot be the load of this scenario: {error}") from None


def files_of(scenario: Scenario, load: TraceLoad, how: Replay) -> dict[str, bytes]:
    """What a worker needs beside the scenario."""
    names = tenant_names(scenario, load, how.division)
    return {CONTENT: load.content, NAMES: json.dumps(names).encode()}


def _with_tenants(
    group: TenantGroup, held: Sequence[int], load: TraceLoad, how: Replay
) -> TenantGroup:
    count, adapters = held
    return group.model_copy(
        update={
            "count": max(count, group.count) if how.division == NAMED else count,
            "adapters": group.adapters if load.adapters is None or not count else adapters,
            "rate_rps_each": None,
            "prompt_tokens": None,
            "output_tokens": None,
        }
    )


def _digest(load: TraceLoad, names: Sequence[str]) -> str:
    """So that scenarios with different traces of the same name are not equal."""
    return digest_of("\n".join((load.digest, *names)).encode())
