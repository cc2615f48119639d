"""Importers of CSV and Parquet files: Azure LLM 2023/2024, BurstGPT, and any other by a map."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlora.errors import UserError
from simlora.workload.blocks import Ints
from simlora.workload.columns import (
    Lists,
    int_lists,
    optional_ints,
    string_values,
    token_values,
)
from simlora.workload.importers.base import ImportOptions, Source, SourceRows, TimeUnit
from simlora.workload.importers.clock import Clock
from simlora.workload.tables import Place, Table, open_table
from simlora.workload.trace import (
    BLOCK_KEY,
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    TraceRows,
    check_hash_counts,
)

_NEEDED = ("arrival_s", "prompt_tokens", "output_tokens")
_NORMALIZED = {name: name for name in _NEEDED}


def azure_llm(inputs: list[Path], options: ImportOptions) -> Source:
    """Azure LLM inference traces 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`, as
    published, or a Parquet file with `arrival_s`, `prompt_tokens`, `output_tokens`."""
    table = open_table(one_input(inputs))
    if table.is_text:
        columns = dict(zip(_NEEDED, ("TIMESTAMP", "ContextTokens", "GeneratedTokens"), strict=True))
        return _source(table, columns, "datetime", None)
    return _source(table, _NORMALIZED, "s", None)


def burstgpt(inputs: list[Path], options: ImportOptions) -> Source:
    """BurstGPT: `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`; version 3
    has `Session ID,Elapsed time` after the time stamp (seconds)."""
    table = open_table(one_input(inputs))
    columns = dict(zip(_NEEDED, ("Timestamp", "Request tokens", "Response tokens"), strict=True))
    if "Session ID" in table.columns:
        columns["session"] = "Session ID"
    return _source(table, columns, "s", None)


def mapped(inputs: list[Path], options: ImportOptions) -> Source:
    """Any CSV or Parquet file: `options.column_map` names the file's column for each column of a
    trace that is called otherwise there."""
    table = open_table(one_input(inputs))
    allowed = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)
    for name in options.column_map:
        if name not in allowed:
            raise UserError(
                f"--map {name}: a trace has no such column; it has {', '.join(allowed)}"
            )
    columns = {name: options.column_map.get(name, name) for name in allowed}
    table.require(list(options.column_map.values()))
    table.require(
        [columns[name] for name in _NEEDED],
        "; map others with --map arrival_s=…, --map prompt_tokens=…, --map output_tokens=…",
    )
    columns = {name: theirs for name, theirs in columns.items() if theirs in table.columns}
    block = options.prefix_block_tokens
    if block is None and table.metadata.get(BLOCK_KEY, "").isdecimal():
        block = int(table.metadata[BLOCK_KEY])
    if "prefix_hashes" in columns and not block:
        raise UserError(
            f"{table.path}: say with --prefix-block-tokens how many tokens a hash in "
            f"{columns['prefix_hashes']} stands for"
        )
    return _source(table, columns, options.time_unit, block)


def table_with_hashes(table: Table, hash_column: str, block_tokens: int) -> Source:
    """A Parquet form of a trace with prefix hashes, times in seconds."""
    return _source(table, {**_NORMALIZED, "prefix_hashes": hash_column}, "s", block_tokens)


def one_input(inputs: list[Path]) -> Path:
    """Return the one file of a format whose traces are one file."""
    if len(inputs) != 1:
        raise UserError(f"this format takes one file, not {len(inputs)}")
    return inputs[0]


def conversations(hashes: Lists) -> Ints:
    """Return what tells conversations apart: the second prefix block (the first one is often a
    system prompt that all share), -1 for shorter prompts."""
    starts, lengths = hashes.starts(), hashes.lengths()
    keys = np.full(len(starts), -1, dtype=np.int64)
    longer = lengths >= 2
    keys[longer] = hashes.values[starts[longer] + 1]
    return keys


def _source(
    table: Table, columns: Mapping[str, str], unit: TimeUnit, block_tokens: int | None
) -> Source:
    table.require(list(columns.values()))

    clock = Clock(unit)
    batches = (
        _read(batch, place, columns, clock, block_tokens)
        for place, batch in table.batches(list(dict.fromkeys(columns.values())))
    )
    return Source(batches, block_tokens if "prefix_hashes" in columns else None)


def _read(
    batch: Any, place: Place, columns: Mapping[str, str], clock: Clock, block_tokens: int | None
) -> SourceRows:
    arrays = {name: _plain(batch[theirs]) for name, theirs in columns.items()}
    prompt = token_values(arrays["prompt_tokens"], place, columns["prompt_tokens"], 0)
    output = token_values(arrays["output_tokens"], place, columns["output_tokens"], 0)
    rows = TraceRows(
        arrival_s=clock.seconds(arrays["arrival_s"], place, columns["arrival_s"]),
        tenant=None,
        adapter=None,
        prompt_tokens=prompt,
        output_tokens=output,
    )
    if "tenant" in arrays:
        rows.tenant = string_values(_as_text(arrays["tenant"]), place, columns["tenant"])
    if "adapter" in arrays:
        rows.adapter = string_values(_as_text(arrays["adapter"]), place, columns["adapter"])
    if "priority" in arrays:
        priority = optional_ints(arrays["priority"], place, columns["priority"], 0)
        rows.priority = np.clip(priority, -32_767, 32_767).astype(np.int16)
    conversation = None
    if "session" in arrays:
        rows.session = conversation = session_numbers(arrays["session"])
    if "prefix_hashes" in arrays and block_tokens is not None:
        hashes = int_lists(arrays["prefix_hashes"], place, columns["prefix_hashes"])
        check_hash_counts(hashes, prompt, output, block_tokens, place)
        rows.prefix_hashes = hashes
        if conversation is None:
            conversation = conversations(hashes)
    return SourceRows(place, rows, conversation)


def session_numbers(array: Any) -> Ints:
    """Return a number >= 0 for each session name, -1 for none: whole numbers as they are, anything
    else by a 62-bit hash of its text, which needs no memory of the names seen."""
    if pa.types.is_integer(array.type):
        numbers: Ints = array.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
        if (numbers >= -1).all():
            return numbers
    encoded = _as_text(array).dictionary_encode()
    found = [_session_number(name) for name in encoded.dictionary.to_pylist()]
    codes = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return np.array([*found, -1], dtype=np.int64)[codes]


def _session_number(name: str) -> int:
    if not name:
        return -1
    if name.isascii() and name.isdigit() and len(name) <= 18:
        return int(name)
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 2


def _plain(array: Any) -> Any:
    """Undo the dictionary encoding of text."""
    return array.cast(pa.string()) if pa.types.is_dictionary(array.type) else array


def _as_text(array: Any) -> Any:
    """Return names as text: numbers serve as names too."""
    if pa.types.is_nested(array.type):
        return array  # refused by whoever reads it
    return pc.cast(array, pa.string())
