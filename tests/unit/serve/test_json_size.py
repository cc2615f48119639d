"""How much there is in a JSON text, told without parsing it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.serve.json_size import count_values

SCALARS = st.none() | st.booleans() | st.integers() | st.text() | st.text('[{,"\\')
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\,'), inner)
)


def marks_in(value: Any) -> int:
    """The commas and opening brackets that a value is written with."""
    if not isinstance(value, (list, dict)):
        return 0
    inner = list(value.values() if isinstance(value, dict) else value)
    return 1 + max(0, len(inner) - 1) + sum(map(marks_in, inner))


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_strings_are_made_of_is_not_counted(value: Any, ascii_only: bool, indent: Any) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert count_values(raw) == marks_in(value)


@pytest.mark.parametrize("end", [b"", b'"', b"\\", b'\\"', b"}", b"\xff"])
def test_of_a_text_that_breaks_off_what_comes_before_is_counted(end: bytes) -> None:
    assert count_values(b"[1,[2," * 50 + end) >= 200


def test_nothing_has_no_values() -> None:
    assert count_values(b"") == 0
