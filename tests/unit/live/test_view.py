"""The line that a terminal shows of a live run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from simlora.live.driver import Driver
from simlora.live.server import Server
from simlora.live.view import Words, watching
from tests.simulating import Ask
from tests.unit.live.living import crowd, live, live_scenario


def test_it_tells_what_runs_and_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at after each step, however long it takes."""
    words, lines = Words(), list[str]()
    drivers = list[Driver]()
    complete = Server.complete

    def look(driver: Driver, server: Server, time_s: float) -> None:
        if not drivers:
            lines.append(words.line(driver, server, 0.0).plain)
        drivers.append(driver)

    def complete_and_look(server: Server, *times: float) -> None:
        complete(server, *times)
        lines.append(words.line(drivers[0], server, 1.0).plain)

    monkeypatch.setattr(Server, "complete", complete_and_look)
    asks = [Ask(0.0, -1, prompt_tokens=8, output_tokens=60) for _ in range(8)]
    live(live_scenario(tmp_path), asks, tmp_path / "out", look)
    assert lines[0] == "0 s  0 requests  0 running  0 waiting  0 hot adapters  0 tokens/s"
    assert any("8 requests  6 running  2 waiting" in line for line in lines), "of 6 at a time"
    assert "8 requests  0 running  0 waiting" in lines[-1]


def test_the_rate_is_that_of_the_last_seconds(tmp_path: Path) -> None:
    words = Words()
    seen: list[str] = []

    def look(driver: Driver, server: Server, time_s: float) -> None:
        if not seen:
            for at_s, tokens in ((1.0, 50), (2.0, 300), (3.0, 310), (4.0, 400)):
                driver.output_tokens = tokens
                seen.append(words.line(driver, server, at_s).plain.rsplit("  ", 1)[1])

    live(live_scenario(tmp_path), crowd(1, 4), tmp_path / "out", look)
    assert seen == ["0 tokens/s", "150 tokens/s", "150 tokens/s", "50 tokens/s"]


def test_nothing_is_shown_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with watching() as look:
        live(live_scenario(tmp_path), crowd(2, 2), tmp_path / "out", look)
    assert capsys.readouterr().err == ""


def test_what_a_terminal_shows_goes_when_the_run_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with watching() as look:
        live(live_scenario(tmp_path), crowd(2, 2), tmp_path / "out", look)
    shown = capsys.readouterr()
    assert "running" in shown.err
    assert shown.err.endswith(("\x1b[2K", "\x1b[?25h\r\x1b[1A\x1b[2K"))
    assert shown.out == ""
