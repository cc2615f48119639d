"""A trace made ready to be replayed, and put where a run reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from simlora.dashboard.limits import MOST_REQUESTS, MOST_TENANTS
from simlora.dashboard.trace_load import (
    CONTENT,
    NAMES,
    Replay,
    TraceLoad,
    digest_of,
    files_of,
    replaying,
)
from simlora.errors import UserError
from simlora.results.files import RESOLVED_SCENARIO
from simlora.scenario.schema import Scenario
from simlora.workload.blocks import Ints
from simlora.workload.columns import Lists
from simlora.workload.tables import Place
from simlora.workload.trace import TraceRows, open_trace
from simlora.workload.trace_writer import TraceWriter

_MOST_HASHES = 8_000_000  # of prefixes, 8 bytes each before they are compressed
_NONE = -1  # no adapter: the base model


def packed(
    trace: Path,
    name: str,
    total: int,
    scratch: Path,
    progress: Callable[[int], None] | None = None,
) -> TraceLoad:
    """The first of a trace's `total` requests: as many as the dashboard simulates, of as many
    tenants, and with prefix hashes that a session can keep.

    `name` is what it is called; `progress` is told how many requests have been looked at. Raises
    UserError for a request without a tenant.
    """
    opened = open_trace(trace)
    tenants, adapters = _Codes(), _Codes()
    codes: list[tuple[Ints, Ints | None]] = []
    kept, hashes, longest, last_s = 0, 0, 0, 0.0
    for place, rows in opened.rows():
        rows = _cut(rows, MOST_REQUESTS - kept)
        of_tenant = _tenant_codes(tenants, rows, place)
        over = of_tenant >= MOST_TENANTS
        rows = _cut(rows, int(np.argmax(over)) if over.any() else len(rows))
        kept += len(rows)
        hashes += 0 if rows.prefix_hashes is None else len(rows.prefix_hashes.values)
        if progress is not None:
            progress(kept)
        of_adapter = None if rows.adapter is None else adapters.of(rows.adapter, _NONE)
        codes.append((of_tenant[: len(rows)], of_adapter))
        if len(rows):
            tokens = rows.prompt_tokens.astype(np.int64) + rows.output_tokens
            longest, last_s = max(longest, int(tokens.max())), float(rows.arrival_s[-1])
        if over.any() or kept == MOST_REQUESTS or hashes > _MOST_HASHES:
            break
    asked = np.bincount(np.concatenate([each for each, _ in codes]))
    names = list(tenants.known)[: len(asked)]
    order = sorted(range(len(asked)), key=lambda code: (-asked[code], names[code]))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    places = _adapter_places(codes, list(adapters.known))
    out = scratch / CONTENT
    with TraceWriter(out, opened.prefix_block_tokens) as writer:
        for (_, rows), (of_tenant, of_adapter) in zip(opened.rows(), codes, strict=False):
            rows = _cut(rows, len(of_tenant))
            rows.tenant = _numbers(rank[of_tenant])
            rows.adapter = None if of_adapter is None else _ranked(places, of_tenant, of_adapter)
            if len(rows):
                writer.write(rows)
    most = np.zeros(len(order), dtype=np.int64)
    for code, _ in places:
        most[rank[code]] += 1
    content = out.read_bytes()
    return TraceLoad(
        name=name,
        content=content,
        digest=digest_of(content),
        total=total,
        requests=kept,
        span_s=last_s,
        longest_tokens=longest,
        tenants=tuple(names[code] for code in order),
        adapters=tuple(most.tolist()) if "adapter" in opened.columns else None,
    )


def placed(scratch: Path, scenario: Scenario) -> Scenario:
    """The scenario with its trace, if it has one, in the scratch directory, where the worker was
    given what to write it from; a scenario with a load of its own is left alone."""
    trace = scenario.workload.trace
    if trace is None:
        return scenario
    file = scratch / Path(trace).name
    write_renamed(scratch / CONTENT, json.loads((scratch / NAMES).read_bytes()), scenario, file)
    workload = scenario.workload.model_copy(update={"trace": str(file)})
    return scenario.model_copy(update={"workload": workload})


def replayed_trace(scenario: Scenario, load: TraceLoad, how: Replay) -> bytes:
    """The trace as a worker replays it for a scenario with a load of its own, in Parquet."""
    with TemporaryDirectory(prefix="simlora-dashboard-") as name:
        scratch = Path(name)
        for file, content in files_of(scenario, load, how).items():
            (scratch / file).write_bytes(content)
        trace = placed(scratch, replaying(scenario, load, how)).workload.trace
        return Path(str(trace)).read_bytes()


def bring_along(directory: Path, scenario: Scenario) -> Path | None:
    """Make the resolved scenario in a result directory name its trace as a file beside it. Returns
    where the trace now is; None for a load of another kind."""
    if scenario.workload.trace is None:
        return None
    trace = Path(scenario.workload.trace)
    resolved = directory / RESOLVED_SCENARIO
    text = resolved.read_text(encoding="utf-8")
    resolved.write_text(text.replace(str(trace), trace.name), encoding="utf-8")
    return trace


def write_renamed(content: Path, names: list[str], scenario: Scenario, out: Path) -> None:
    """Write the trace to `out` with its tenants and their adapters called as in the scenario, where
    `names` are by rank. Raises UserError if it cannot be written."""
    adapters = {group.name: group.adapters for group in scenario.tenants}
    single = [adapters[name.rpartition("-")[0]] <= 1 for name in names]
    opened = open_trace(content)
    with TraceWriter(out, opened.prefix_block_tokens) as writer:
        for rows in _first(opened.rows(), scenario.workload.max_requests):
            ranks = _Codes.numbers(rows.tenant)
            if rows.adapter is not None:
                own = [None if k is None else str(k) for k in rows.adapter.to_pylist()]
                rows.adapter = pa.array(
                    [
                        k if k is None else names[rank] if single[rank] else f"{names[rank]}/{k}"
                        for k, rank in zip(own, ranks.tolist(), strict=True)
                    ],
                    pa.string(),
                ).dictionary_encode()
            rows.tenant = pa.DictionaryArray.from_arrays(pa.array(ranks), pa.array(names))
            writer.write(rows)


class _Codes:
    """Numbers for names, in the order in which they are first seen."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def of(self, array: Any, absent: int) -> Ints:
        """The numbers of a dictionary array's names; `absent` for null and no text."""
        names = array.dictionary.to_pylist()
        used = array.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
        number = np.full(len(names) + 1, absent, dtype=np.int64)
        for code in dict.fromkeys(used.tolist()):
            if code < len(names) and names[code]:
                number[code] = self.known.setdefault(names[code], len(self.known))
        found: Ints = number[used]
        return found

    @staticmethod
    def numbers(array: Any) -> Ints:
        """The numbers that the names themselves are."""
        found: Ints = array.cast(pa.string()).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return found


def _tenant_codes(tenants: _Codes, rows: TraceRows, place: Place) -> Ints:
    codes = tenants.of(rows.tenant, _NONE)
    if (codes == _NONE).any():
        raise UserError(f"{place.at(int(np.argmax(codes == _NONE)))}: tenant is empty")
    return codes


def _adapter_places(
    codes: list[tuple[Ints, Ints | None]], names: list[str]
) -> dict[tuple[int, int], int]:
    """The rank of each adapter among those of its tenant, the one asked for the most is 0."""
    asked: dict[tuple[int, int], int] = {}
    for of_tenant, of_adapter in codes:
        if of_adapter is None:
            continue
        pairs, counts = np.unique(np.stack([of_tenant, of_adapter]), axis=1, return_counts=True)
        for tenant, adapter, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
            if adapter != _NONE:
                asked[tenant, adapter] = asked.get((tenant, adapter), 0) + count
    seen: dict[int, int] = {}
    places = {}
    for tenant, adapter in sorted(asked, key=lambda pair: (-asked[pair], names[pair[1]])):
        places[tenant, adapter] = seen.get(tenant, 0)
        seen[tenant] = places[tenant, adapter] + 1
    return places


def _ranked(places: dict[tuple[int, int], int], of_tenant: Ints, of_adapter: Ints) -> Any:
    pairs = zip(of_tenant.tolist(), of_adapter.tolist(), strict=True)
    found = [places.get(pair) for pair in pairs]
    return pa.array([None if k is None else str(k) for k in found], pa.string()).dictionary_encode()


def _numbers(values: Ints) -> Any:
    return pa.array(values).cast(pa.string()).dictionary_encode()


def _first(parts: Iterator[tuple[Place, TraceRows]], count: int | None) -> Iterator[TraceRows]:
    for _, rows in parts:
        if count is not None:
            rows = _cut(rows, count)
            count -= len(rows)
        if len(rows):
            yield rows


def _cut(rows: TraceRows, count: int) -> TraceRows:
    """The first `count` rows."""
    if count >= len(rows):
        return rows
    hashes = rows.prefix_hashes
    ends = None if hashes is None else hashes.ends[:count]
    return replace(
        rows,
        arrival_s=rows.arrival_s[:count],
        tenant=rows.tenant[:count],
        adapter=None if rows.adapter is None else rows.adapter[:count],
        prompt_tokens=rows.prompt_tokens[:count],
        output_tokens=rows.output_tokens[:count],
        session=None if rows.session is None else rows.session[:count],
        priority=None if rows.priority is None else rows.priority[:count],
        prefix_hashes=None
        if hashes is None or ends is None
        else Lists(hashes.values[: int(ends[-1]) if len(ends) else 0], ends),
    )
