"""numpy to Arrow, buffer by buffer.

`pyarrow.array` would import pandas, which takes longer than the simulation of thousands of
requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from simlora.results.arrays import Bools


def numbers(values: np.ndarray[Any, Any], missing: Bools | None = None) -> pa.Array:
    """An Arrow array of the same type; null where `missing`."""
    validity = None
    if missing is not None and missing.any():
        validity = _bits(~missing)
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [validity, _bits(values)])
    data = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [validity, data])


def strings(values: Sequence[str]) -> pa.Array:
    """An Arrow array of UTF-8 strings."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def coded(codes: np.ndarray[Any, Any], names: pa.Array) -> pa.Array:
    """Strings by their code in `names`; null where the code is negative."""
    indices = numbers(codes.astype(np.int32), codes < 0)
    return pa.DictionaryArray.from_arrays(indices, names)


def _bits(flags: Bools) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))
