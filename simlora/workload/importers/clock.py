"""Reading time columns exactly: integers stay integers until the first one is subtracted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlora.errors import UserError
from simlora.workload.blocks import Floats
from simlora.workload.columns import float_values, int_values
from simlora.workload.importers.base import TimeUnit
from simlora.workload.tables import Place

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_ZONE = re.compile(r"(?:Z|[+-]\d\d:?\d\d)$")


class Clock:
    """Turns a time column, batch by batch, into seconds since its very first value.

    Dates are read to the nanosecond (Azure gives seven digits), so that equal differences in the
    file are equal differences here.
    """

    def __init__(self, unit: TimeUnit) -> None:
        self.unit = unit
        self.first: int | float | None = None

    def seconds(self, array: Any, place: Place, name: str) -> Floats:
        """Return seconds; negative where a time is before the first one.

        Raises:
            UserError: a value that is no time of this unit.
        """
        if self.unit == "datetime":
            ticks = _nanoseconds(array, place, name)
            per_second = _PER_SECOND["ns"]
        else:
            if pa.types.is_temporal(array.type):
                raise UserError(
                    f"{place.path}: column {name} is of type {array.type}; read it with "
                    "--time-unit datetime"
                )
            ticks = _numbers(array, place, name)
            per_second = _PER_SECOND[self.unit]
        if self.first is None:
            self.first = ticks[0].item()
        seconds: Floats = (ticks - self.first) / per_second
        return seconds


def _numbers(array: Any, place: Place, name: str) -> Any:
    """Return integers if all are written so, floats otherwise."""
    if pa.types.is_integer(array.type):
        return int_values(array, place, name)
    if pa.types.is_string(array.type):
        try:
            return pc.cast(array, pa.int64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass
    return float_values(array, place, name)


def _nanoseconds(array: Any, place: Place, name: str) -> Any:
    if pa.types.is_timestamp(array.type):
        return int_values(
            array.cast(pa.timestamp("ns", array.type.tz)).cast(pa.int64()), place, name
        )
    if not (pa.types.is_string(array.type) or pa.types.is_dictionary(array.type)):
        raise UserError(
            f"{place.path}: column {name} is of type {array.type}, not a date; give its --time-unit"
        )
    text = pc.utf8_trim_whitespace(array.cast(pa.string()))
    zone = "UTC" if _ZONE.search(text[0].as_py() or "") else None
    kind = pa.timestamp("ns", zone)
    try:
        return int_values(pc.cast(text, kind).cast(pa.int64()), place, name)
    except pa.ArrowInvalid:
        row = next(row for row in range(len(text)) if not _reads(text[row], kind))
        raise UserError(
            f"{place.at(row)}: {name} is {text[row].as_py()!r}, not a date like "
            "2023-11-16 18:15:46.6805900 (all with a time zone, or none)"
        ) from None


def _reads(value: Any, kind: Any) -> bool:
    try:
        pc.cast(value, kind)
    except pa.ArrowInvalid:
        return False
    return bool(np.bool_(value.is_valid))
