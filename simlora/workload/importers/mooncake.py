"""Mooncake traces (FAST'25): JSON lines with `timestamp` (ms), `input_length`, `output_length` and
`hash_ids`, one id for every 512 tokens of the prompt, the last block perhaps partial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from simlora.errors import UserError
from simlora.workload.blocks import BLOCK_ROWS
from simlora.workload.columns import MAX_TOKENS, Lists
from simlora.workload.importers.base import ImportOptions, Source, SourceRows
from simlora.workload.importers.tabular import conversations, one_input, table_with_hashes
from simlora.workload.tables import Place, check_file, open_table
from simlora.workload.trace import TraceRows, check_hash_counts

BLOCK_TOKENS = 512
_INTEGERS = ("timestamp", "input_length", "output_length")


def mooncake(inputs: list[Path], options: ImportOptions) -> Source:
    """The published JSON lines, or a Parquet file with `arrival_s`, `prompt_tokens`,
    `output_tokens` and `hash_ids`."""
    path = one_input(inputs)
    if path.suffix.lower() == ".parquet":
        return table_with_hashes(open_table(path), "hash_ids", BLOCK_TOKENS)
    check_file(path)
    return Source(_lines(path), BLOCK_TOKENS)


def _lines(path: Path) -> Iterator[SourceRows]:
    try:
        with path.open("rb") as file:
            yield from _batches(path, file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def _batches(path: Path, file: IO[bytes]) -> Iterator[SourceRows]:
    line, first_ms = 0, None
    while lines := list(islice(file, BLOCK_ROWS)):
        # A JSON-lines file has no header, so that its line 1 is row 0: `Place` counts from 2.
        place = Place(path, line - 1, is_text=True)
        records = [_record(text, place.at(i)) for i, text in enumerate(lines)]
        line += len(lines)
        times, prompts, outputs, hashes = zip(*records, strict=True)
        if first_ms is None:
            first_ms = times[0]
        prompt, output = np.array(prompts, dtype=np.int32), np.array(outputs, dtype=np.int32)
        lists = Lists.of(list(hashes))
        check_hash_counts(lists, prompt, output, BLOCK_TOKENS, place)
        rows = TraceRows(
            arrival_s=(np.array(times) - first_ms) / 1000,
            tenant=None,
            adapter=None,
            prompt_tokens=prompt,
            output_tokens=output,
            prefix_hashes=lists,
        )
        yield SourceRows(place, rows, conversations(lists))


def _record(text: bytes, where: str) -> tuple[int, int, int, list[int]]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{where}: not a line of JSON") from None
    if not isinstance(record, dict):
        raise UserError(f"{where}: not a JSON object with timestamp, input_length, …")
    time, prompt, output = (_whole(record, key, where) for key in _INTEGERS)
    hashes = record.get("hash_ids")
    if not isinstance(hashes, list) or any(type(item) is not int for item in hashes):
        raise UserError(f"{where}: hash_ids must be a list of integers")
    if any(not -(2**63) <= item < 2**63 for item in hashes):
        raise UserError(f"{where}: hash_ids must be integers of 64 bits")
    for key, tokens in (("input_length", prompt), ("output_length", output)):
        if not 0 <= tokens <= MAX_TOKENS:
            raise UserError(f"{where}: {key} is {tokens}, allowed is 0 to {MAX_TOKENS:,}")
    return time, prompt, output, hashes


def _whole(record: dict[str, Any], key: str, where: str) -> int:
    if key not in record:
        raise UserError(f"{where}: no {key}")
    value = record[key]
    if type(value) is not int or abs(value) >= 2**53:
        raise UserError(f"{where}: {key} is {value!r}, not an integer")
    return value
