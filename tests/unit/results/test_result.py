"""Results: saved, loaded, and refused with one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from simlora.cli.tables import summary_table
from simlora.errors import UserError
from simlora.report import html, write_report
from simlora.results import load_result
from simlora.results.result import Result, scratch_directory
from simlora.results.wellformed import flaw
from tests.unit.results.recorded import busy_run


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return busy_run(tmp_path_factory.mktemp("run"), 200)


def test_a_saved_result_loads_equal(saved: Result, tmp_path: Path) -> None:
    loaded = load_result(saved.save(tmp_path / "deep" / "down"))
    assert loaded.summary == saved.summary
    assert loaded.requests.equals(saved.requests)
    assert loaded.tenants.equals(saved.tenants)
    assert loaded.timeline.equals(saved.timeline)
    assert loaded.save(loaded.directory) == loaded.directory


def test_saving_replaces_every_file_of_an_earlier_run(saved: Result, tmp_path: Path) -> None:
    for name in ("report.html", "decisions.jsonl", "steps.parquet"):
        (tmp_path / name).write_text("of another run")
    saved.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        path.name for path in saved.directory.iterdir()
    }


def test_saving_keeps_what_only_some_runs_write(saved: Result, tmp_path: Path) -> None:
    place = saved.save(tmp_path / "run")
    for name in ("report.html", "decisions.jsonl", "steps.parquet"):
        (place / name).write_text(f"{name} of this run")
    copy = load_result(place).save(tmp_path / "copy")
    for path in place.iterdir():
        assert (copy / path.name).read_bytes() == path.read_bytes()


def test_a_scratch_directory_lives_as_long_as_its_result() -> None:
    owner = scratch_directory()
    place = Path(owner.name)
    result = Result(place, {}, owner)
    del owner
    assert place.is_dir()
    del result
    assert not place.exists()


def test_what_is_no_result_is_refused(saved: Result, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UserError, match="is a file, not a directory"):
        load_result(file)
    with pytest.raises(UserError, match="does not exist"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"summary\.json is missing"):
        load_result(tmp_path)
    with pytest.raises(UserError, match="cannot save the result"):
        saved.save(file)
    place = saved.save(tmp_path / "run")
    (place / "requests.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(UserError, match=r"requests\.parquet: cannot be read"):
        _ = load_result(place).requests
    for text, sentence in (
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not the summary of a run"),
        ('{"requests": {}}', r"not the summary of a run: requests\.offered is missing"),
    ):
        (place / "summary.json").write_text(text)
        with pytest.raises(UserError, match=sentence):
            load_result(place)


def test_each_missing_part_of_a_summary_is_told(
    saved: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "_figures", lambda *_: "")  # they take a second
    place = saved.save(tmp_path / "run")

    def dotted(data: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for key, value in data.items():
            yield (*above, key)
            if isinstance(value, dict):
                yield from dotted(value, (*above, key))

    told = 0
    for *above, key in dotted(saved.summary):
        broken = json.loads((saved.directory / "summary.json").read_text())
        part = broken
        for name in above:
            part = part[name]
        del part[key]
        (place / "summary.json").write_text(json.dumps(broken))
        if flaw(broken):
            told += 1
            with pytest.raises(UserError, match="is missing or of another kind"):
                load_result(place)
        else:
            result = load_result(place)
            write_report(result)
            summary_table(result.summary)
    assert told > 100


def test_recording_imports_neither_pandas_nor_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from tests.unit.results.recorded import busy_run\n"
        f"busy_run(pathlib.Path({str(tmp_path)!r}), 100)\n"
        "assert not {'pandas', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
