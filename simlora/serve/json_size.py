"""How much there is in a JSON text, told before anything is made of it."""

from __future__ import annotations

import numpy as np


def count_values(raw: bytes) -> int:
    """The commas and opening brackets outside of the strings of a JSON text: as many as it has
    values, give or take one for each list or object. Of a text that is no JSON, at least those up
    to where it is none.

    A body of 32 MiB holds up other threads for some 0.1 s, parsing it for seconds.
    """
    # Without what is escaped, every quote begins or ends a string.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    codes = np.frombuffer(plain, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate(codes == ord('"'))
    marks = (codes == ord(",")) | (codes == ord("[")) | (codes == ord("{"))
    return int(np.count_nonzero(marks & ~inside))
