"""The trace format: one request a row, in order of arrival, as Parquet or CSV.

| column | type | |
| --- | --- | --- |
| `arrival_s` | float | seconds from the start, ascending, >= 0 |
| `tenant` | text | name of a tenant of the scenario |
| `adapter` | text | optional; name of an adapter, null (CSV: nothing) for the base model |
| `prompt_tokens`, `output_tokens` | integer | >= 1 |
| `session` | integer | optional; equal in all turns of a conversation |
| `priority` | integer | optional |
| `prefix_hashes` | list of integers | optional; CSV: with spaces between |

`prefix_hashes` names the consecutive blocks of the prompt: an equal id is an equal whole prefix up
to the end of that block. How many tokens a block has stands in the Parquet metadata
`simlora.prefix_block_tokens`. A list may be empty (nothing known), must cover at least all whole
blocks of the prompt otherwise, and may run on to the end of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simlora.errors import UserError
from simlora.scenario.problems import did_you_mean
from simlora.workload.blocks import Floats, Ints, Tokens
from simlora.workload.columns import (
    Lists,
    float_values,
    int_lists,
    optional_ints,
    string_values,
    token_values,
)
from simlora.workload.tables import Place, Table, open_table

REQUIRED_COLUMNS = ("arrival_s", "tenant", "prompt_tokens", "output_tokens")
OPTIONAL_COLUMNS = ("adapter", "session", "priority", "prefix_hashes")
BLOCK_KEY = "simlora.prefix_block_tokens"


@dataclass(slots=True)
class TraceRows:
    """Rows of a trace in columns; `tenant` and `adapter` are Arrow dictionary arrays of names.

    An optional column that the trace lacks is None.
    """

    arrival_s: Floats
    tenant: Any
    adapter: Any | None
    prompt_tokens: Tokens
    output_tokens: Tokens
    session: Ints | None = None  # -1: none
    priority: NDArray[np.int16] | None = None
    prefix_hashes: Lists | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)


@dataclass(frozen=True, slots=True)
class Trace:
    """An opened trace: `rows()` streams (place, rows) and may be called any number of times."""

    path: Path
    columns: tuple[str, ...]
    total_rows: int | None
    prefix_block_tokens: int | None
    rows: Callable[[], Iterator[tuple[Place, TraceRows]]]


def open_trace(path: Path, prefix_block_tokens: int | None = None) -> Trace:
    """Open a trace file. Rows are checked as they are streamed.

    `prefix_block_tokens` says what the file itself does not (a CSV file cannot).

    Raises:
        UserError: an unreadable file, a missing or unknown column, no rows, or a prefix block
            that is unknown or contradicts the file's.
    """
    table = open_table(path)
    if "tenant" not in table.columns and "arrival_s" in table.columns:
        raise UserError(
            f"{path}: no column tenant; `simlora trace import parquet|csv {path} --tenants N` "
            "names tenants where a trace has none"
        )
    table.require(REQUIRED_COLUMNS)
    _refuse_unknown(table)
    if table.rows == 0:
        raise UserError(f"{path}: the trace has no rows")
    block = _block_tokens(table, prefix_block_tokens)
    columns = [n for n in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) if n in table.columns]

    def rows() -> Iterator[tuple[Place, TraceRows]]:
        last_s = 0.0
        place = None
        for place, batch in table.batches(columns):
            checked = _checked(batch, place, block)
            check_order(checked.arrival_s, last_s, place)
            last_s = float(checked.arrival_s[-1])
            yield place, checked
        if place is None:
            raise UserError(f"{path}: the trace has no rows")

    return Trace(path, tuple(columns), table.rows, block, rows)


def token_histogram(path: Path, column: str) -> Ints:
    """Return how often each length occurs in a column of token counts: `counts[tokens]`.

    Any Parquet or CSV file that has the column will do. Zero-token rows count as 1 token.

    Raises:
        UserError: an unreadable file, no such column, no rows, or a value that is no token count.
    """
    table = open_table(path)
    table.require([column])
    counts = np.zeros(1, dtype=np.int64)
    for place, batch in table.batches([column]):
        tokens = np.maximum(token_values(batch.column(0), place, column, 0), 1)
        more = np.bincount(tokens, minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    if not counts.any():
        raise UserError(f"{path}: there are no rows to draw {column} from")
    return counts


def check_order(arrival_s: Floats, last_s: float, place: Place, unit: str = "") -> None:
    """Raise a UserError unless the times are ascending, the first not before `last_s` (>= 0). The
    `unit` is told where times are not as they stand in the file."""
    if arrival_s[0] < 0 and last_s == 0:
        raise UserError(f"{place.at(0)}: arrival_s is {arrival_s[0]}, allowed is 0 or more")
    steps = np.diff(arrival_s, prepend=last_s)
    if (steps < 0).any():
        row = int(np.argmax(steps < 0))
        before = arrival_s[row - 1] if row else last_s
        raise UserError(
            f"{place.at(row)}: arrival_s is {arrival_s[row]}{unit}, earlier than {before} in the "
            "row before it; rows must be in order of arrival"
        )


def _refuse_unknown(table: Table) -> None:
    """A misspelt optional column would silently count for nothing."""
    known = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    for name in table.columns:
        if name not in known:
            raise UserError(
                f"{table.path}: unknown column {name}; {did_you_mean(name, known)}; "
                "`simlora trace import csv|parquet` leaves out what is not wanted"
            )


def _block_tokens(table: Table, asked: int | None) -> int | None:
    if "prefix_hashes" not in table.columns:
        return asked
    stated = table.metadata.get(BLOCK_KEY)
    if stated is None:
        if asked is None:
            raise UserError(
                f"{table.path}: has prefix_hashes, but not how many tokens a hash stands for; say "
                "so with workload.prefix_block_tokens (of `trace`: --prefix-block-tokens)"
            )
        return asked
    if not stated.isascii() or not stated.isdigit() or int(stated) < 1:
        raise UserError(f"{table.path}: metadata {BLOCK_KEY} is {stated!r}, not a positive integer")
    if asked is not None and asked != int(stated):
        raise UserError(
            f"prefix_block_tokens is {asked}, but the hashes in {table.path} stand for "
            f"{int(stated)} tokens each"
        )
    return int(stated)


def _checked(batch: Any, place: Place, block_tokens: int | None) -> TraceRows:
    names = batch.schema.names
    tenant = string_values(batch["tenant"], place, "tenant")
    adapter = string_values(batch["adapter"], place, "adapter") if "adapter" in names else None
    rows = TraceRows(
        float_values(batch["arrival_s"], place, "arrival_s"),
        tenant,
        adapter,
        token_values(batch["prompt_tokens"], place, "prompt_tokens", 1),
        token_values(batch["output_tokens"], place, "output_tokens", 1),
    )
    if "session" in names:
        rows.session = optional_ints(batch["session"], place, "session", -1)
    if "priority" in names:
        priority = optional_ints(batch["priority"], place, "priority", 0)
        beyond = np.abs(priority) > 32_767
        if beyond.any():
            row = int(np.argmax(beyond))
            raise UserError(
                f"{place.at(row)}: priority is {priority[row]}, allowed is -32767 to 32767"
            )
        rows.priority = priority.astype(np.int16)
    if "prefix_hashes" in names and block_tokens is not None:
        hashes = int_lists(batch["prefix_hashes"], place, "prefix_hashes")
        check_hash_counts(hashes, rows.prompt_tokens, rows.output_tokens, block_tokens, place)
        rows.prefix_hashes = hashes
    return rows


def check_hash_counts(
    hashes: Lists, prompt: Tokens, output: Tokens, block_tokens: int, place: Place
) -> None:
    """Raise a UserError if a list that is not empty is too short or too long for its request."""
    lengths = hashes.lengths()
    least = prompt // block_tokens
    most = -(-(prompt.astype(np.int64) + output) // block_tokens)
    wrong = (lengths > 0) & ((lengths < least) | (lengths > most))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{place.at(row)}: {lengths[row]} prefix_hashes for {prompt[row]} prompt and "
            f"{output[row]} output tokens; with {block_tokens} tokens a hash, allowed is "
            f"{least[row]} to {most[row]} (or none)"
        )
