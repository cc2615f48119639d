"""Replaying a trace file against the tenants and adapters of a scenario."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.workload.blocks import (
    DEFAULT_PREFIX_BLOCK_TOKENS,
    End,
    Ints,
    RequestBlock,
    Tokens,
    Traffic,
)
from simlora.workload.tables import Place
from simlora.workload.trace import TraceRows, open_trace

# A first arrival this late (three years) is a date: seconds, or finer, since 1970.
_DATE_S = 1e8


def replay(deployment: Deployment, path: Path) -> Traffic:
    """Return the traffic of a trace, `rate_scale` times as fast, cut at `duration_s` and
    `max_requests`.

    Raises:
        UserError: a file that is no trace (also while streaming: a bad row, or a tenant or adapter
            that the scenario does not have), arrivals that are dates, or prefix blocks that the KV
            blocks do not divide.
    """
    workload = deployment.scenario.workload
    trace = open_trace(path, workload.prefix_block_tokens)
    block_tokens = trace.prefix_block_tokens or DEFAULT_PREFIX_BLOCK_TOKENS
    kv_block = deployment.scenario.engine.kv_block_tokens
    if "prefix_hashes" in trace.columns and block_tokens % kv_block:
        raise UserError(
            f"{path}: a prefix hash stands for {block_tokens} tokens, which is no multiple of "
            f"engine.kv_block_tokens ({kv_block})"
        )

    def blocks() -> Iterator[RequestBlock]:
        names = _Names(deployment, path)
        end = End(workload)
        for place, rows in trace.rows():
            if place.first_row == 0 and rows.arrival_s[0] >= _DATE_S:
                raise UserError(
                    f"{place.at(0)}: arrival_s is {rows.arrival_s[0]:.15g}, which looks like a "
                    "date, but it counts seconds from the start of the trace; "
                    f"`simlora trace import {path.suffix[1:]} {path} --out FILE` makes it so"
                )
            block = names.block(rows, place)
            if workload.rate_scale != 1.0:
                block.arrival_s = block.arrival_s / workload.rate_scale
            count = end.rows(block.arrival_s)
            if count:
                yield block if count == len(block) else _head(block, count)
            if end.reached:
                return

    total = trace.total_rows if workload.duration_s is None else None
    if total is not None and workload.max_requests is not None:
        total = min(total, workload.max_requests)
    return Traffic(blocks, total, workload.duration_s, block_tokens)


def _head(block: RequestBlock, count: int) -> RequestBlock:
    return RequestBlock(
        block.arrival_s[:count],
        block.tenant[:count],
        block.adapter[:count],
        block.prompt_tokens[:count],
        block.output_tokens[:count],
        block.session[:count],
        block.priority[:count],
        None if block.prefix_hashes is None else block.prefix_hashes[:count],
    )


class _Names:
    """Looks names up in the scenario, once for each dictionary of names in the file."""

    def __init__(self, deployment: Deployment, path: Path) -> None:
        self.deployment = deployment
        self.path = path
        first = [member.adapters[0] if member.adapters else -1 for member in deployment.tenants]
        self.first_adapter = np.array(first, dtype=np.int32)
        self.adapter_tenant = np.array([a.tenant for a in deployment.adapters], dtype=np.int32)
        self.last_seen: dict[str, tuple[Any, Ints]] = {}

    def block(self, rows: TraceRows, place: Place) -> RequestBlock:
        count = len(rows)
        tenant = self._indexes("tenant", rows.tenant, self.deployment.tenant_index, place)
        missing = tenant == -1
        if missing.any():
            raise UserError(f"{place.at(int(np.argmax(missing)))}: tenant is empty")
        if rows.adapter is None:
            adapter = self.first_adapter[tenant]
        else:
            adapter = self._indexes("adapter", rows.adapter, self.deployment.adapter_index, place)
            self._check_owner(tenant, adapter, place)
        return RequestBlock(
            rows.arrival_s,
            tenant,
            adapter,
            rows.prompt_tokens,
            rows.output_tokens,
            np.full(count, -1, dtype=np.int64) if rows.session is None else rows.session,
            np.zeros(count, dtype=np.int16) if rows.priority is None else rows.priority,
            None if rows.prefix_hashes is None else rows.prefix_hashes.tolist(),
        )

    def _indexes(self, kind: str, array: Any, known: Mapping[str, int], place: Place) -> Tokens:
        """Return the index of each name, -1 for null or no text."""
        names, found = self.last_seen.get(kind, (None, None))
        if names is None or not names.equals(array.dictionary):
            names = array.dictionary
            # -2: unknown, an error only if a row uses it.
            found = np.array(
                [known.get(name, -2) if name else -1 for name in names.to_pylist()] + [-1],
                dtype=np.int64,
            )
            self.last_seen[kind] = (names, found)
        assert found is not None
        codes = array.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)
        indexes: Tokens = found[codes].astype(np.int32)
        unknown = indexes == -2
        if unknown.any():
            row = int(np.argmax(unknown))
            raise UserError(f"{place.at(row)}: {_unknown(kind, array[row].as_py(), known)}")
        return indexes

    def _check_owner(self, tenant: Tokens, adapter: Tokens, place: Place) -> None:
        wrong = adapter >= 0
        if len(self.adapter_tenant):
            wrong &= self.adapter_tenant[adapter] != tenant
        if wrong.any():
            row = int(np.argmax(wrong))
            used = self.deployment.adapters[int(adapter[row])]
            raise UserError(
                f"{place.at(row)}: adapter {used.name!r} belongs to tenant "
                f"{self.deployment.tenants[used.tenant].name!r}, not to "
                f"{self.deployment.tenants[int(tenant[row])].name!r}"
            )


def _unknown(kind: str, given: str, known: Mapping[str, int]) -> str:
    some = ", ".join(islice(known, 3)) + (f" … ({len(known)} in all)" if len(known) > 3 else "")
    close = get_close_matches(given, list(islice(known, 10_000)), 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{kind} {given!r} is not in the scenario, which has {some or 'none'}{hint}"
