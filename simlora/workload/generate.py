"""Writing a scenario's traffic to a trace file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.workload.blocks import RequestBlock, Tokens
from simlora.workload.columns import Lists
from simlora.workload.trace import TraceRows
from simlora.workload.trace_writer import TraceWriter
from simlora.workload.traffic import open_traffic


def generate_trace(
    deployment: Deployment, out: Path, progress: Callable[[int], None] | None = None
) -> int:
    """Write the requests of a scenario to `out` (.parquet or .csv) and return their number.

    Replaying the file in the same scenario gives the same requests. `progress` is told the number
    of rows written so far.

    Raises:
        UserError: a workload that cannot be drawn or is empty, or an output that cannot be written.
    """
    traffic = open_traffic(deployment)
    tenants = pa.array([tenant.name for tenant in deployment.tenants])
    adapters = pa.array([adapter.name for adapter in deployment.adapters], pa.string())
    with TraceWriter(out, traffic.prefix_block_tokens) as writer:
        for block in traffic.blocks():
            writer.write(_rows(block, tenants, adapters))
            if progress is not None:
                progress(writer.rows_written)
        if writer.rows_written == 0:
            raise UserError(
                "the scenario's workload holds no request: it ends before the first one"
            )
    return writer.rows_written


def _rows(block: RequestBlock, tenants: Any, adapters: Any) -> TraceRows:
    hashes = None if block.prefix_hashes is None else Lists.of(block.prefix_hashes)
    return TraceRows(
        arrival_s=block.arrival_s,
        tenant=_named(block.tenant, tenants),
        adapter=_named(block.adapter, adapters),
        prompt_tokens=block.prompt_tokens,
        output_tokens=block.output_tokens,
        session=block.session,
        priority=block.priority,
        prefix_hashes=hashes,
    )


def _named(indexes: Tokens, names: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(indexes, mask=indexes < 0), names)
