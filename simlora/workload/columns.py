"""Turning Arrow columns into checked numpy arrays; the first bad value is named with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from simlora.errors import UserError
from simlora.workload.blocks import Floats, Ints, Tokens
from simlora.workload.tables import Place, one_line

MAX_TOKENS = 100_000_000  # more in one request is a mistake, such as a wrong column
_INT64 = np.iinfo(np.int64)


def float_values(array: Any, place: Place, name: str) -> Floats:
    """Return finite floats.

    Raises:
        UserError: an empty field, text, NaN or an infinity; or a column of another type.
    """
    _no_nulls(array, place, name)
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        array = _parsed(array, pa.float64(), place, name, "a number")
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UserError(f"{place.path}: column {name} is of type {kind}, not a number")
    values: Floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.argmin(finite))
        raise UserError(f"{place.at(row)}: {name} is {values[row]}, not a finite number")
    return values


def int_values(array: Any, place: Place, name: str) -> Ints:
    """Return integers; a float column is taken if every value is whole.

    Raises:
        UserError: an empty field, text, a fraction, too large a number; or another type.
    """
    _no_nulls(array, place, name)
    kind = array.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        values: Ints = array.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return values
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        text = array.cast(pa.string())
        try:
            values = pc.cast(pc.utf8_trim_whitespace(text), pa.int64()).to_numpy()
            return values
        except pa.ArrowInvalid:
            array = text
    floats = float_values(array, place, name)
    whole = (floats == np.floor(floats)) & (np.abs(floats) < _INT64.max)
    if not whole.all():
        row = int(np.argmin(whole))
        raise UserError(f"{place.at(row)}: {name} is {floats[row]:g}, not a whole number")
    return floats.astype(np.int64)


def token_values(array: Any, place: Place, name: str, minimum: int) -> Tokens:
    """Return token counts from `minimum` to `MAX_TOKENS`.

    Raises:
        UserError: as `int_values`, and a count out of range.
    """
    values = int_values(array, place, name)
    good = (values >= minimum) & (values <= MAX_TOKENS)
    if not good.all():
        row = int(np.argmin(good))
        raise UserError(
            f"{place.at(row)}: {name} is {values[row]}, allowed is {minimum} to {MAX_TOKENS:,}"
        )
    return values.astype(np.int32)


def optional_ints(array: Any, place: Place, name: str, absent: int) -> Ints:
    """Return integers where null or an empty field means `absent`.

    Raises:
        UserError: as `int_values`.
    """
    if pa.types.is_null(array.type):
        return np.full(len(array), absent, dtype=np.int64)
    if pa.types.is_string(array.type) or pa.types.is_dictionary(array.type):
        text = array.cast(pa.string())
        array = pc.if_else(pc.equal(text, ""), str(absent), text).fill_null(str(absent))
    elif array.null_count:
        array = array.fill_null(absent)
    return int_values(array, place, name)


def string_values(array: Any, place: Place, name: str) -> Any:
    """Return a dictionary-encoded string array, nulls allowed.

    Raises:
        UserError: a column of another type.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.string()).dictionary_encode()
    if pa.types.is_dictionary(kind):
        return array
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{place.path}: column {name} is of type {kind}, not text")
    return array.cast(pa.string()).dictionary_encode()


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of integers, flat: list i is `values[ends[i-1]:ends[i]]` (with `ends[-1]` = 0)."""

    values: Ints
    ends: Ints

    def lengths(self) -> Ints:
        return np.diff(self.ends, prepend=0)

    def starts(self) -> Ints:
        return self.ends - self.lengths()

    def tolist(self) -> list[list[int]]:
        values = self.values.tolist()
        ends = self.ends.tolist()
        return [values[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    @classmethod
    def of(cls, lists: list[list[int]]) -> Lists:
        lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        flat = [value for items in lists for value in items]
        return cls(np.array(flat, dtype=np.int64), np.cumsum(lengths))


def int_lists(array: Any, place: Place, name: str) -> Lists:
    """Return lists of integers: a list column, or text with spaces between the numbers.

    A null is an empty list.

    Raises:
        UserError: another type, or something that is no integer in a list.
    """
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind):
        text = pc.utf8_trim_whitespace(array.cast(pa.string()))
        array = pc.split_pattern_regex(text, r"\s+").cast(pa.list_(pa.string()))
        array = pc.if_else(pc.equal(text, ""), pa.scalar(None, array.type), array)
    elif not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise UserError(f"{place.path}: column {name} is of type {kind}, not a list of integers")
    lengths = pc.list_value_length(array).fill_null(0)
    flat = array.flatten()
    ends = np.cumsum(lengths.to_numpy(zero_copy_only=False).astype(np.int64))
    if flat.null_count:
        row = int(np.searchsorted(ends, int(np.argmax(flat.is_null())), side="right"))
        raise UserError(f"{place.at(row)}: {name} holds an empty entry")
    if not pa.types.is_integer(flat.type):
        try:
            flat = flat.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{place.at(0)} or after: {name} must hold integers: {one_line(error)}"
            ) from error
    return Lists(flat.cast(pa.int64()).to_numpy(zero_copy_only=False), ends)


def _no_nulls(array: Any, place: Place, name: str) -> None:
    if array.null_count:
        row = int(np.argmax(array.is_null().to_numpy(zero_copy_only=False)))
        raise UserError(f"{place.at(row)}: {name} is empty")


def _parsed(array: Any, kind: Any, place: Place, name: str, wanted: str) -> Any:
    """Parse text; on failure name the first value that cannot be read."""
    text = pc.utf8_trim_whitespace(array.cast(pa.string()))
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        for row in range(len(text)):
            try:
                pc.cast(text[row], kind)
            except pa.ArrowInvalid:
                given = text[row].as_py()
                told = f"is {given!r}, not {wanted}" if given else "is empty"
                raise UserError(f"{place.at(row)}: {name} {told}") from None
        raise
