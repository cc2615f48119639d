"""The address of somebody's server: what is none, and what is not shown of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.cli.main import main
from simlora.errors import UserError
from simlora.live.openai_client import run_openai
from simlora.live.openai_options import ServerOptions
from simlora.sim.output import growing_result
from tests.unit.live.test_openai_over_http import scenario

LIVE_TINY = Path(__file__).resolve().parents[3] / "scenarios" / "live-tiny.yaml"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:99999", "port"),
        ("http://127.0.0.1:0", "port"),
        ("http://127.0.0.1:eight/v1", "port"),
        ("http://", "names no server"),
        ("http://:8000", "names no server"),
        ("gpu:8000", "must begin with"),
        ("ftp://me:secret@gpu", "must begin with"),
        ("me:secret@gpu:8000", "must begin with"),
        ("http://me:secret@gpu:99999", "port"),
    ],
)
def test_an_address_that_is_none_is_one_sentence_without_a_password(
    url: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["live", str(LIVE_TINY), "--engine", "openai", "--url", url]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --url ") and why in told
    assert len(told.splitlines()) == 1
    assert "secret" not in told


@pytest.mark.parametrize("url", ["http://gpu", "https://[::1]:8000/v1", "http://me:pw@gpu:80/v1/"])
def test_an_address_that_is_one_is_taken(url: str) -> None:
    assert ServerOptions(url).shown_url == url.replace("me:pw@", "")


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--url http://127\.0\.0\.1:9: cannot be reached") as told:
        run_openai(scenario(), tmp_path, ServerOptions("http://me:secret@127.0.0.1:9"))
    assert "secret" not in str(told.value)


def test_a_device_is_of_the_embedded_engine_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["live", str(LIVE_TINY), "--engine", "openai", "--url", "http://127.0.0.1:9"]
    assert main([*command, "--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: --device: is for --engine embedded only")


def test_a_table_of_an_earlier_run_goes_with_its_other_files(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("of another run")
    with growing_result(tmp_path):
        pass
    assert not (tmp_path / "runs.csv").exists()
