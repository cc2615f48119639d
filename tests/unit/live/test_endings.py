"""Signals outside of serving: while a run begins they end it, while its result is written they do
nothing."""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import simlora.sim.output
from simlora.cli.main import main
from simlora.live.embedded import Embedded
from simlora.live.openai_client import run_openai
from simlora.live.openai_options import ServerOptions
from simlora.live.run import run_live
from simlora.results.recorder import Recorder
from simlora.results.result import load_result
from tests.unit.live.living import CONFIG, live_scenario
from tests.unit.live.test_openai_over_http import chunk, faulty, listening, scenario, streaming

YAML = """
name: short
model: {model}
fleet: [{{gpu: cpu}}]
tenants: [{{name: tenant, count: 2, adapter: {{rank: 4}}}}]
workload:
  {{duration_s: null, max_requests: 3, rate_rps: 20, prompt_tokens: {{fixed: 8}},
    output_tokens: {{fixed: 8}}}}
engine: {{max_model_len: 64, max_num_seqs: 4, memory: {{kv_cache_tokens: 1024}}}}
run: {{report: false}}
"""
NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def killed() -> Iterator[list[int]]:
    """Signals that nobody took, which would have ended the process."""
    came: list[int] = []
    before = [signal.signal(number, lambda number, _: came.append(number)) for number in NUMBERS]
    yield came
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    path = tmp_path / "short.yaml"
    path.write_text(YAML.format(model=tmp_path / "config.json"))
    return ["live", str(path), "--device", "cpu", "--out", str(tmp_path / "out")]


def interrupt(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """Each signal comes twice as a function is called."""
    called = getattr(owner, name)

    def after_signals(*arguments: Any, **options: Any) -> Any:
        for number in (*NUMBERS, *NUMBERS):
            signal.raise_signal(number)
        return called(*arguments, **options)

    monkeypatch.setattr(owner, name, after_signals)


@pytest.mark.parametrize(("owner", "name"), [(Recorder, "close"), (simlora.sim.output, "_replace")])
def test_a_result_is_written_whatever_signals_come(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed: list[int],
    owner: Any,
    name: str,
) -> None:
    interrupt(monkeypatch, owner, name)
    assert main(command) == 0
    assert killed == []
    assert load_result(tmp_path / "out").summary["requests"]["completed"] == 3


def test_a_result_of_a_server_is_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: list[int]
) -> None:
    interrupt(monkeypatch, Recorder, "close")
    answer = streaming(chunk(), chunk(), "data: [DONE]\n\n")
    with listening(faulty(answer)) as url:
        result = run_openai(scenario(max_requests=3), tmp_path, ServerOptions(url))
    assert killed == []
    assert load_result(result.directory).summary["requests"]["completed"] == 3


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_while_the_engine_starts_leaves_nothing_behind(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    killed: list[int],
    number: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    found: list[Path] = []

    def signalled(*_: Any) -> None:
        found.extend((tmp_path / "tmp").glob("simlora-*"))
        signal.raise_signal(number)

    monkeypatch.setattr(Embedded, "warm_up", signalled)
    assert main(command) == 130
    assert killed == []
    assert len(found) == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "out").iterdir()) == []
    assert capsys.readouterr().err.split() == ["interrupted"]


def test_handlers_are_those_of_before_when_a_run_is_over(tmp_path: Path, killed: list[int]) -> None:
    run_live(
        live_scenario(tmp_path).with_overrides(
            {"workload.duration_s": None, "workload.max_requests": 1, "workload.rate_rps": 50}
        ),
        tmp_path / "out",
        device="cpu",
    )
    for number in NUMBERS:
        signal.raise_signal(number)
    assert killed == [*NUMBERS]
