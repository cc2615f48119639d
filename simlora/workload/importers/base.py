"""What an importer is, and what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from simlora.workload.blocks import Ints
from simlora.workload.tables import Place
from simlora.workload.trace import TraceRows

TimeUnit = Literal["s", "ms", "us", "ns", "datetime"]
TIME_UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns", "datetime")


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """`tenants`: how many to spread an anonymous trace over, by Zipf with exponent `zipf`.
    `column_map` (trace column -> the file's own), `time_unit` and `prefix_block_tokens` are for
    `csv` and `parquet`; `limit` ends the import after so many requests."""

    tenants: int | None = None
    zipf: float = 1.0
    seed: int = 0
    column_map: Mapping[str, str] = field(default_factory=dict)
    time_unit: TimeUnit = "s"
    prefix_block_tokens: int | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class SourceRows:
    """A batch as an importer reads it: times from any start, token counts from 0, `tenant` None in
    an anonymous trace. Rows of one `conversation` (-1: unknown) belong to the same tenant."""

    place: Place
    rows: TraceRows
    conversation: Ints | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An opened foreign trace, to be read once. `notes` say what was left out or assumed."""

    batches: Iterator[SourceRows]
    prefix_block_tokens: int | None = None
    notes: tuple[str, ...] = ()


Importer = Callable[[list[Path], ImportOptions], Source]
