"""`simlora serve --engine embedded` as a process of its own, ended by signals."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from simlora.cli.main import main
from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serve.answer import Answer
from simlora.serve.bodies import Asked
from simlora.serve.embedded import EmbeddedReplica
from simlora.serve.limits import one_engine
from simlora.serve.metrics import Metrics
from simlora.serve.run import ended_by_sigterm, listen
from tests.unit.serve.embedding import completion, scenario, write_config, write_texts

REPO = Path(__file__).resolve().parents[3]
YAML = """
name: process
model: {model}
fleet: [{{gpu: cpu}}]
tenants: [{{name: tenant, count: 4, adapter: {{rank: 4}}}}]
workload: {{rate_rps: 1}}
engine: {{max_model_len: 8192, max_num_seqs: 8, memory: {{kv_cache_tokens: 40000}}}}
timing: {{profile: roofline}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = write_config(tmp_path / "model", max_position_embeddings=8192)
    write_texts(folder)
    file = tmp_path / "scenario.yaml"
    file.write_text(YAML.format(model=folder))
    return file


@dataclass
class Serving:
    """A server, and what it has said."""

    process: subprocess.Popen[str]
    url: str
    said: list[str] = field(default_factory=list)

    def end(self) -> tuple[int, str]:
        """Its exit code, and all that it said; it has been asked to end."""
        assert self.process.stderr is not None
        self.said += self.process.stderr.readlines()
        return self.process.wait(timeout=60), "".join(self.said)


@contextmanager
def serving(path: Path, *options: str) -> Iterator[Serving]:
    command = [sys.executable, "-m", "simlora", "serve", str(path), "--engine", "embedded"]
    command += ["--device", "cpu", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said: list[str] = []
            assert process.stderr is not None
            for line in process.stderr:
                said.append(line)
                if found := re.search(r"http://\S+", line):
                    yield Serving(process, found[0], said)
                    return
            raise AssertionError("".join(said))
        finally:
            process.kill()


class Stream(threading.Thread):
    """A client that reads a stream to its end."""

    def __init__(self, url: str, tokens: int, number: int) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.begun = threading.Event()
        self._url = url
        self._body = completion(
            "how are you", model=f"tenant-{number % 4:04}", max_tokens=tokens, stream=True
        )
        self.start()

    def run(self) -> None:
        with httpx.stream(
            "POST", f"{self._url}/v1/completions", json=self._body, trust_env=False, timeout=60
        ) as response:
            for line in response.iter_lines():
                if line:
                    self.lines.append(line.removeprefix("data: "))
                    self.begun.set()

    @property
    def ends(self) -> list[Any]:
        """Why each chunk says that it is the last, but for those that do not."""
        chunks = [json.loads(line) for line in self.lines if line != "[DONE]"]
        reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks if "choices" in chunk]
        return [reason for reason in reasons if reason is not None]


def test_streams_that_run_at_sigterm_are_complete_within_the_grace(path: Path) -> None:
    with serving(path, "--grace", "60") as server:
        assert any("its weights are random" in line for line in server.said)
        streams = [Stream(server.url, 300, number) for number in range(12)]  # some wait
        for stream in streams[:4]:
            stream.begun.wait(30)
        server.process.send_signal(signal.SIGTERM)
        refused = None
        while refused is None:
            response = httpx.post(
                f"{server.url}/v1/completions", json=completion(max_tokens=1), trust_env=False
            )
            refused = response if response.status_code != 200 else None
        for stream in streams:
            stream.join(60)
        code, said = server.end()
    assert (code, "Traceback" in said) == (0, False), said
    assert "have 60 s to end" in said
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "shutting_down"
    for stream in streams:
        assert len(stream.lines) == 301
        assert stream.ends == ["length"]
        assert stream.lines[-1] == "[DONE]"


def test_what_is_longer_than_the_grace_is_cut_off_and_told(path: Path) -> None:
    with serving(path, "--grace", "0.2") as server:
        streams = [Stream(server.url, 8000, number) for number in range(4)]
        for stream in streams:
            stream.begun.wait(30)
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            stream.join(60)
        code, said = server.end()
    assert (code, "Traceback" in said) == (0, False), said
    assert "4 requests are cut off" in said
    for stream in streams:
        assert stream.ends == []
        failure, done = stream.lines[-2:]
        assert json.loads(failure)["error"]["code"] == "shutting_down"
        assert done == "[DONE]"


def test_a_second_signal_does_not_wait_for_the_grace(path: Path) -> None:
    with serving(path, "--grace", "3600") as server:
        stream = Stream(server.url, 8000, 0)
        stream.begun.wait(30)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.stderr is not None
        while "to end" not in server.said[-1]:
            server.said.append(server.process.stderr.readline())
        server.process.send_signal(signal.SIGINT)
        stream.join(60)
        code, said = server.end()
    assert (code, "Traceback" in said) == (0, False), said
    assert "1 requests are cut off" in said


def test_sigterm_while_the_server_starts_leaves_nothing_in_temporary_directories(
    path: Path, tmp_path: Path
) -> None:
    """It may have come to serve by then: it ends just as well."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "simlora", "serve", str(path), "--engine", "embedded"]
    with subprocess.Popen(
        [*command, "--device", "cpu", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    ) as process:
        assert process.stderr is not None
        assert "its weights are random" in process.stderr.readline()  # adapters are there by now
        assert len(list(scratch.glob("simlora-*"))) == 1
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(timeout=60) in (143, 0), said
    assert "Traceback" not in said
    assert not list(scratch.iterdir())


def test_sigterm_ends_what_is_not_a_server_yet_as_an_exit_does() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as told, ended_by_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert told.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


# --- what it cannot do ---------------------------------------------------------------------


def test_importing_the_server_imports_neither_torch_nor_tokenizers() -> None:
    code = """
import sys, simlora.serve.run, simlora.serve.embedded, simlora.cli.serve
from simlora.scenario.schema import Scenario
from tests.unit.serve.service import scenario
simlora.serve.run.Service(scenario())
heavy = ("torch", "triton", "kernels", "safetensors", "tokenizers", "jinja2", "simpy")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_real_engine_without_torch_is_one_sentence(path: Path) -> None:
    code = "import sys\nsys.modules['torch'] = None\nfrom simlora.cli.main import main\n"
    command = [sys.executable, "-c", f"{code}sys.exit(main(sys.argv[1:]))", "serve", str(path)]
    done = subprocess.run(
        [*command, "--engine", "embedded", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "needs the package torch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--device", "cpu"], "--device: belongs to --engine embedded"),
        (["--registry", "there"], "--registry: belongs to --engine embedded"),
        (["--engine", "embedded", "--trusted", "there"], "--trusted: belongs to --registry"),
        (["--engine", "embedded", "--registry", "there"], "there"),
    ],
)
def test_options_that_do_not_belong_together_are_one_sentence(
    options: list[str], told: str, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(path), "--port", "0", *options]) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        wrong = ["--engine", "embedded", "--registry", "there", "--port", port]
        assert main(["serve", str(path), *wrong]) == 2
    assert f"--port {port}: cannot listen there" in capsys.readouterr().err


def test_what_one_engine_leaves_out_of_a_scenario_is_told() -> None:
    rollout = {"mode": "shadow", "share": 0.5}
    tenants = [{"name": "tenant", "adapter": {"rank": 4}, "rollout": rollout}, {"name": "other"}]
    fleet = [{"gpu": "cpu", "replicas": 2}]
    served, notes = one_engine(scenario("tiny-llama", tenants=tenants, fleet=fleet))
    assert [group.rollout for group in served.tenants] == [None, None]
    assert served.fleet[0].replicas == 1
    assert any("rollout.mode shadow" in note for note in notes)
    assert any("one replica of its first pool" in note for note in notes)
    assert one_engine(scenario("tiny-llama"))[1] == []


def test_a_version_on_trial_answers_with_no_more_tokens_than_were_asked_for() -> None:
    rollout = {"mode": "ab", "share": 1.0, "candidate": {"output_factor": 5.0}}
    tenants = [{"name": "tenant", "adapter": {"rank": 4}, "rollout": rollout}]
    served, _ = one_engine(scenario("tiny-llama", tenants=tenants))
    replica = EmbeddedReplica(expand(served), Metrics(expand(served)), device="cpu")

    async def act() -> Answer:
        running = asyncio.create_task(replica.run())
        answer = replica.ask(0, 0, [1, 2, 3], 10, Asked("tenant", most=10, whole=True))
        assert answer.request.adapter == expand(served).candidates[0]
        replica.stop()
        await running
        return answer

    assert asyncio.run(act()).emitted == 10
    replica.check()


def test_a_model_that_takes_several_devices_is_refused() -> None:
    wide = Scenario.model_validate(
        scenario("tiny-llama").model_dump() | {"fleet": [{"gpu": "a10g", "tensor_parallel": 2}]}
    )
    with pytest.raises(UserError, match="tensor_parallel"):
        one_engine(wide)
