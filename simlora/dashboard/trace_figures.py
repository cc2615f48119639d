"""An uploaded trace in figures: popularity of its tenants, rates and lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.dashboard.trace_load import TraceLoad
from simlora.dashboard.trace_replay import packed
from simlora.errors import UserError
from simlora.workload.describe import describe_trace
from simlora.workload.importers import ImportOptions, import_trace
from simlora.workload.tables import TABLE_SUFFIXES, open_table
from simlora.workload.trace import open_trace

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 5_000_000
DETECT = "detect"
_SERVEGEN = ("-trace.csv", "-dataset.json")
_MOST_BINS = 200
_MOST_RANKS = 400  # points of the curve over ranks


@dataclass(frozen=True, slots=True)
class TraceFigures:
    """`described` as by `trace describe`; `format_name` is what it was read as, `notes` what was
    assumed. `rates`: requests per s over time; `ranks`: share of requests by rank of the tenant;
    `lengths`: share of requests by `side` and tokens, in bins from `low` to `high`. `load` is what
    can be replayed of it."""

    format_name: str
    notes: tuple[str, ...]
    described: dict[str, Any]
    rates: pd.DataFrame
    ranks: pd.DataFrame
    lengths: pd.DataFrame
    load: TraceLoad


def read_trace(
    scratch: Path,
    progress: Callable[[float, str], None],
    format_name: str,
    names: tuple[str, ...],
    options: ImportOptions,
) -> TraceFigures:
    """Import the files `names` in `scratch`, and look at what they hold.

    Raises UserError if they are no trace of that format, or too long.
    """
    files = [scratch / name for name in names]
    if format_name == DETECT:
        format_name = detect(files)
    expected = _expected_rows(files[0])

    def stage(first: float, last: float, verb: str) -> Callable[[int], None]:
        def told(rows: int) -> None:
            if rows > MOST_ROWS:
                raise UserError(f"{names[0]}: has more than {MOST_ROWS:,} requests")
            done = min(rows / expected, 1.0)
            progress(first + (last - first) * done, f"{verb}: {rows:,} requests")

        return told

    trace = scratch / "_imported.parquet"
    report = import_trace(format_name, files, trace, options, stage(0.0, 0.6, "reading"))
    expected = max(report.rows, 1)
    described = describe_trace(trace, progress=stage(0.6, 0.8, "describing"))
    rates, ranks, lengths = _tables(trace, described, stage(0.8, 0.9, "counting"))
    load = packed(trace, names[0], report.rows, scratch, stage(0.9, 1.0, "packing"))
    notes = list(report.notes)
    for side, raised in (("prompt", report.raised_prompts), ("output", report.raised_outputs)):
        if raised:
            notes.append(f"{raised:,} requests had no {side} tokens and were given 1")
    return TraceFigures(format_name, tuple(notes), described, rates, ranks, lengths, load)


def detect(files: list[Path]) -> str:
    """The format of these files, by their names and columns. Raises UserError if it is none."""
    first = files[0]
    if all(file.name.endswith(_SERVEGEN) for file in files):
        return "servegen"
    if len(files) > 1:
        raise UserError("several files are taken for ServeGen's clients only; upload one file")
    if first.suffix in (".jsonl", ".json"):
        return "mooncake"
    if not first.name.endswith(TABLE_SUFFIXES):
        raise UserError(
            f"{first.name}: is of no known kind; a trace is .csv, .csv.gz, .parquet or .jsonl"
        )
    columns = set(open_table(first).columns)
    if {"TIMESTAMP", "ContextTokens", "GeneratedTokens"} <= columns:
        return "azure-llm"
    if {"Timestamp", "Request tokens", "Response tokens"} <= columns:
        return "burstgpt"
    if "hash_ids" in columns:
        return "mooncake"
    return "parquet" if first.suffix == ".parquet" else "csv"


def _expected_rows(file: Path) -> float:
    """About how many rows a file has: exact for Parquet, else from the lines at its start."""
    if file.suffix == ".parquet":
        return max(open_table(file).rows or 1, 1)
    with file.open("rb") as stream:
        start = stream.read(1 << 16)
    lines = max(start.count(b"\n"), 1)
    packed = 4 if file.suffix == ".gz" else 1  # what gzip saves, about
    return max(file.stat().st_size * packed * lines / max(len(start), 1), 1.0)


def _tables(
    trace: Path, described: dict[str, Any], progress: Callable[[int], None]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    span_s = float(described["span_s"])
    bins = int(np.clip(described["requests"] // 20, 1, _MOST_BINS))
    edges_s = np.linspace(0.0, max(span_s, 1.0), bins + 1)
    longest = max(described[f"{side}_tokens"]["max"] for side in ("prompt", "output"))
    bounds = np.unique(np.rint(2.0 ** np.arange(0, np.log2(longest + 1) + 0.5, 0.5)).astype(int))
    bounds = np.append(bounds, longest + 1) if bounds[-1] <= longest else bounds
    arrived = np.zeros(bins)
    lengths = {side: np.zeros(len(bounds) - 1) for side in ("prompt", "output")}
    by_tenant: dict[str, int] = {}
    seen = 0
    for _, rows in open_trace(trace).rows():
        arrived += np.histogram(rows.arrival_s, edges_s)[0]
        lengths["prompt"] += np.histogram(rows.prompt_tokens, bounds)[0]
        lengths["output"] += np.histogram(rows.output_tokens, bounds)[0]
        names = rows.tenant.dictionary.to_pylist()
        codes = rows.tenant.indices.to_numpy(zero_copy_only=False)
        for code, count in enumerate(np.bincount(codes, minlength=len(names)).tolist()):
            if count:
                by_tenant[names[code]] = by_tenant.get(names[code], 0) + count
        seen += len(rows)
        progress(seen)
    ordered = sorted(by_tenant.items(), key=lambda item: (-item[1], item[0]))
    kept = np.unique(np.geomspace(1, len(ordered), _MOST_RANKS).astype(int))
    return (
        pd.DataFrame({"time_s": edges_s[:-1], "rate_rps": arrived / np.diff(edges_s)}),
        pd.DataFrame(
            {
                "rank": kept,
                "tenant": [ordered[rank - 1][0] for rank in kept],
                "share": [ordered[rank - 1][1] / seen for rank in kept],
            }
        ),
        pd.concat(
            pd.DataFrame(
                {
                    "side": f"{side} tokens",
                    "low": bounds[:-1],
                    "high": bounds[1:],
                    "share": counts / seen,
                }
            )
            for side, counts in lengths.items()
        ),
    )
