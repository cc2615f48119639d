"""Uploaded files and what they are called on the server."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from simlora.dashboard.uploads import files_of, safe_name
from simlora.errors import UserError


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/pass wd.csv", "pass_wd.csv"),
        ("/a/b.csv", "b.csv"),
        (".hidden", "hidden"),
        ("..", "file"),
        ("_imported.parquet", "imported.parquet"),
        ("_load.json", "load.json"),
        ("TRACE.CSV.GZ", "TRACE.csv.gz"),
    ],
)
def test_a_file_can_neither_leave_its_directory_nor_hide_nor_be_one_of_the_dashboards_own(
    given: str, kept: str
) -> None:
    assert safe_name(given) == kept


def test_two_files_of_the_same_name_are_refused_and_none_is_lost() -> None:
    @dataclass
    class Upload:
        name: str

        def getvalue(self) -> bytes:
            return self.name.encode()

    assert files_of([Upload("a.csv"), Upload("b.csv")]) == {"a.csv": b"a.csv", "b.csv": b"b.csv"}
    with pytest.raises(UserError, match=r"a_1\.csv: is there twice"):
        files_of([Upload("a 1.csv"), Upload("a_1.csv")])
