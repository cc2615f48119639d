"""The decision log: what is written is read, and where two logs part is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.results.decision_file import as_text, first_difference, read_decisions
from simlora.results.decisions import Line


def line(step: int, decision: str, time_s: float = 0.0, **about: object) -> Line:
    return {"step": step, "time_s": time_s, "decision": decision, **about}


LOG = [line(0, "sent", 0.1, request=0), line(0, "admitted", 0.2, request=0), line(0, "step", 0.2)]


def test_lines_that_are_written_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text("".join(as_text(each) + "\n" for each in LOG))
    assert list(read_decisions(path)) == LOG


def test_the_first_line_that_differs_is_told_with_both_decisions() -> None:
    other = [LOG[0], line(0, "admitted", 0.2, request=1), LOG[2]]
    assert first_difference(LOG, LOG) is None
    assert first_difference(LOG, other) == (2, LOG[1], other[1])
    assert first_difference(LOG, LOG[:2]) == (3, LOG[2], None)
    assert first_difference(LOG[:2], LOG) == (3, None, LOG[2])


def test_times_count_only_where_they_are_asked_for() -> None:
    later = [{**each, "time_s": each["time_s"] + 1} for each in LOG]
    assert first_difference(LOG, later) is None
    assert first_difference(LOG, later, with_times=True) == (1, LOG[0], later[0])


@pytest.mark.parametrize("text", ["{\n", "[1]\n", "\udcff"])
def test_what_is_no_log_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    good = as_text(LOG[0]) + "\n"
    path.write_bytes((good + text).encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"decisions\.jsonl:\d: is no line of a decision log"):
        list(read_decisions(path))


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        list(read_decisions(tmp_path / "none"))
