"""The tables of measurements: their columns, units, and what values are plausible."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from simlora.errors import UserError

# A time is written in one of these units; the last part of the column's name says which.
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
# Bounds that leave room for any server; what lies outside is a slip, and would overflow in a fit.
_SEQUENCES, _ADAPTERS, _RANK = 1e6, 1e6, 1024
_TOKENS, _ATTENDED = 1e8, 1e16
_PER_S = 1e12
_SHORTEST_S, _LONGEST_STEP_S, _LONGEST_S = 1e-7, 30.0, 1e6


@dataclass(frozen=True, slots=True)
class Column:
    """One column: times (`unit`) may be given in seconds, milliseconds or microseconds.

    `plausible`: the median of a table should lie in there; outside, the unit is probably wrong.
    `blank`: cells may be empty, for what was not measured. `least` and `most` are what a value that
    is not 0 may be; a `whole` one counts something, all others may be means.
    """

    name: str
    about: str
    positive: bool = False  # else 0 is allowed too
    blank: bool = False
    text: bool = False
    whole: bool = False
    least: float = 1e-3
    most: float = _TOKENS
    plausible: tuple[float, float] | None = None

    @property
    def is_time(self) -> bool:
        return self.name.endswith("_s") and not self.name.endswith("_per_s")

    @property
    def spellings(self) -> dict[str, float]:
        """Names the column may have in a file, and the factor to seconds."""
        if not self.is_time:
            return {self.name: 1.0}
        stem = self.name.removesuffix("s")
        return {stem + unit: factor for unit, factor in UNITS.items()}

    def problem(self, value: float, factor: float = 1.0) -> str | None:
        """What a value must be and is not; `factor` is that of the unit it is written in."""
        if not math.isfinite(value):
            return "must be a finite number"
        if value < 0 or (self.positive and value == 0):
            return f"must be {'greater than' if self.positive else 'at least'} 0"
        if value * factor > self.most:
            return f"must be at most {self.most / factor:g}"
        if value and value * factor < self.least:
            return f"must be {'' if self.positive else '0 or '}at least {self.least / factor:g}"
        if self.whole and not value.is_integer():
            return "must be a whole number"
        return None


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of table. `key` is the column that tells it; of each group in `one_of` at least one
    column must be there."""

    name: str
    key: str
    columns: dict[str, Column]
    one_of: tuple[tuple[str, ...], ...] = field(default=())

    def find(self, header: str) -> tuple[Column, float] | None:
        """The column that a header names, and the factor to its unit."""
        for column in self.columns.values():
            factor = column.spellings.get(header)
            if factor is not None:
                return column, factor
        return None


def _columns(*columns: Column) -> dict[str, Column]:
    return {column.name: column for column in columns}


STEPS = Format(
    "steps",
    "step_s",
    _columns(
        Column(
            "step_s",
            "duration of an engine step",
            positive=True,
            least=_SHORTEST_S,
            most=_LONGEST_STEP_S,
            plausible=(1e-4, 5.0),
        ),
        Column("decode_seqs", "sequences that get one token each", most=_SEQUENCES),
        Column("prefill_tokens", "prompt tokens computed"),
        Column("prefill_seqs", "prompts, or chunks of them, computed", most=_SEQUENCES),
        Column("context_tokens", "mean tokens that a decoding sequence holds"),
        Column(
            "decode_attended_tokens",
            "sum over decoding sequences of tokens attended",
            most=_ATTENDED,
        ),
        Column(
            "prefill_attended_tokens", "sum over prompt tokens of tokens attended", most=_ATTENDED
        ),
        Column("lora_tokens", "tokens that go through an adapter"),
        Column("distinct_adapters", "different adapters in the batch", most=_ADAPTERS),
        Column(
            "rank",
            "rank of the adapters; where the server pads, the rank padded to",
            whole=True,
            most=_RANK,
        ),
        Column("slots", "adapter slots of the server", whole=True, most=_ADAPTERS),
        Column("passed_over", "waiting requests that the scheduler skipped"),
        Column("weight", "how many steps the row stands for", positive=True, most=1e12),
    ),
    (("decode_seqs", "prefill_tokens"),),
)
LOADS = Format(
    "loads",
    "load_s",
    _columns(
        Column(
            "load_s",
            "time to bring an adapter from host memory to the GPU",
            positive=True,
            least=_SHORTEST_S,
            most=3600.0,
            plausible=(1e-5, 30.0),
        ),
        Column("bytes", "size of the adapter", positive=True, least=1.0, most=1e15),
        Column(
            "rank",
            "rank of the adapter itself, not of its slot",
            positive=True,
            whole=True,
            most=_RANK,
        ),
    ),
    (("bytes", "rank"),),
)
KV_CAPACITY = Format(
    "kv_capacity",
    "kv_tokens",
    _columns(
        Column(
            "kv_tokens",
            "tokens that the server's KV cache holds",
            positive=True,
            most=1e12,
            plausible=(1e3, 1e9),
        ),
        Column("slots", "adapter slots of the server", whole=True, most=_ADAPTERS),
        Column("rank", "rank of a slot", whole=True, most=_RANK),
    ),
    (("slots",), ("rank",)),
)


def _measured(
    name: str, about: str, most: float, plausible: tuple[float, float] | None = None
) -> Column:
    """A figure of a whole run, which may not have been measured."""
    least = _SHORTEST_S if plausible else 1e-6
    return Column(
        name, about, positive=True, blank=True, least=least, most=most, plausible=plausible
    )


RUNS = Format(
    "runs",
    "scenario",
    _columns(
        Column("scenario", "scenario file of the run, relative to the table", text=True),
        _measured(
            "tpot_mean_s",
            "mean time per output token of a request, after the first",
            3600.0,
            (5e-4, 5.0),
        ),
        _measured("itl_mean_s", "mean gap between two output tokens", 3600.0, (5e-4, 5.0)),
        _measured("ttft_mean_s", "mean time to first token", _LONGEST_S, (1e-3, 3600.0)),
        _measured("e2e_mean_s", "mean time of a whole request", _LONGEST_S, (1e-3, 7200.0)),
        _measured("requests_per_s", "completed requests", _PER_S),
        _measured("input_tokens_per_s", "prompt tokens of completed requests", _PER_S),
        _measured("output_tokens_per_s", "output tokens of completed requests", _PER_S),
        _measured("total_tokens_per_s", "both together", _PER_S),
        _measured("input_tokens_mean", "prompt tokens per request", _TOKENS),
        _measured("output_tokens_mean", "output tokens per request", _TOKENS),
    ),
    (("tpot_mean_s", "itl_mean_s"),),
)
FORMATS = (STEPS, LOADS, KV_CAPACITY, RUNS)


def recognize(headers: Iterable[str], where: str) -> Format:
    """The format whose telling column is in the header. Raises UserError if none or several is."""
    found = {
        known.name: known
        for known in FORMATS
        for header in headers
        if header in known.columns[known.key].spellings
    }
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UserError(
            f"{where}: has the columns of several tables ({' and '.join(found)}); keep one"
        )
    keys = ", ".join(f"{known.key} ({known.name})" for known in FORMATS)
    raise UserError(
        f"{where}: is none of the known tables, which are told by their column {keys}; "
        "rename columns with --map COLUMN=THEIRS"
    )
