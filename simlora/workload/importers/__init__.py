"""Importing other people's traces: one importer a format, one way to write what they read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simlora.errors import UserError
from simlora.workload.importers.assign import TenantLottery
from simlora.workload.importers.base import TIME_UNITS, Importer, ImportOptions, SourceRows
from simlora.workload.importers.mooncake import mooncake
from simlora.workload.importers.servegen import servegen
from simlora.workload.importers.tabular import azure_llm, burstgpt, mapped
from simlora.workload.trace import TraceRows, check_order
from simlora.workload.trace_writer import TraceWriter

__all__ = ["IMPORTERS", "TIME_UNITS", "ImportOptions", "ImportReport", "import_trace"]

IMPORTERS: dict[str, Importer] = {
    "azure-llm": azure_llm,
    "burstgpt": burstgpt,
    "mooncake": mooncake,
    "servegen": servegen,
    "csv": mapped,
    "parquet": mapped,
}


@dataclass(slots=True)
class ImportReport:
    """What an import did. Requests without prompt or output tokens are kept, with 1 token."""

    rows: int = 0
    raised_prompts: int = 0
    raised_outputs: int = 0
    notes: tuple[str, ...] = ()


def import_trace(
    format_name: str,
    inputs: list[Path],
    out: Path,
    options: ImportOptions,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import a trace, streamed: memory does not grow with its length.

    Times are made to count from the first request. A trace that names no tenants is spread over
    `options.tenants` (default 1), whose adapters bear the tenants' names. `progress` is told the
    number of rows written so far.

    Raises:
        UserError: inputs that are not of this format or not in order of arrival, options that do
            not fit them, or an output that cannot be written.
    """
    if any(path.exists() and out.exists() and out.samefile(path) for path in inputs):
        raise UserError(f"{out}: is an input; write to another file")
    source = IMPORTERS[format_name](inputs, options)
    report = ImportReport(notes=source.notes)
    lottery = TenantLottery(options.tenants or 1, options.zipf, options.seed)
    start_s, last_s = None, 0.0
    with TraceWriter(out, source.prefix_block_tokens) as writer:
        for part in source.batches:
            if start_s is None:
                start_s = float(part.rows.arrival_s[0])
            rows = part.rows
            rows.arrival_s = rows.arrival_s - start_s
            check_order(rows.arrival_s, last_s, part.place, " s after the first request")
            last_s = float(rows.arrival_s[-1])
            _name_tenants(part, lottery, options)
            if options.limit is not None and report.rows + len(rows) >= options.limit:
                rows = _head(rows, options.limit - report.rows)
            _raise_empty(rows, report)
            writer.write(rows)
            report.rows += len(rows)
            if progress is not None:
                progress(report.rows)
            if report.rows == options.limit:
                break
        if report.rows == 0:
            raise UserError(f"{inputs[0]}: there are no requests in it")
    return report


def _name_tenants(part: SourceRows, lottery: TenantLottery, options: ImportOptions) -> None:
    rows = part.rows
    if rows.tenant is None:
        rows.tenant = lottery.draw(len(rows), part.conversation)
        if rows.adapter is None:
            rows.adapter = rows.tenant
    elif options.tenants is not None:
        raise UserError(f"{part.place.path}: names its tenants itself; leave --tenants out")


def _raise_empty(rows: TraceRows, report: ImportReport) -> None:
    report.raised_prompts += int(np.count_nonzero(rows.prompt_tokens == 0))
    report.raised_outputs += int(np.count_nonzero(rows.output_tokens == 0))
    rows.prompt_tokens = np.maximum(rows.prompt_tokens, 1)
    rows.output_tokens = np.maximum(rows.output_tokens, 1)


def _head(rows: TraceRows, count: int) -> TraceRows:
    hashes = rows.prefix_hashes
    return TraceRows(
        rows.arrival_s[:count],
        rows.tenant[:count],
        None if rows.adapter is None else rows.adapter[:count],
        rows.prompt_tokens[:count],
        rows.output_tokens[:count],
        None if rows.session is None else rows.session[:count],
        None if rows.priority is None else rows.priority[:count],
        None if hashes is None else type(hashes)(hashes.values, hashes.ends[:count]),
    )
