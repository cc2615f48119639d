"""`simlora serve` in a process of its own, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

import simlora
from simlora.calibration.runs import read_runs
from simlora.calibration.tables import Selection, read_tables
from simlora.cli.main import main
from simlora.results.result import load_result
from tests.integration.served import LONG, SCENARIO, Serving, gauge, serving

ELSEWHERE = ("--engine", "openai", "--url", "http://x")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "scenario.yaml"
    file.write_text(SCENARIO)
    return file


def wait_until_idle(url: str) -> None:
    deadline_s = time.monotonic() + 20
    while gauge(url, "vllm:num_requests_running") or gauge(url, "vllm:num_requests_waiting"):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def live(path: Path, url: str, out: Path, *options: str) -> int:
    return main(
        ["live", str(path), "--engine", "openai", "--url", url, "--out", str(out), *options]
    )


@pytest.mark.parametrize("prompts", ["ids", "text"])
def test_a_live_run_against_it_is_served_as_simulated_and_never_sooner(
    path: Path, tmp_path: Path, prompts: str
) -> None:
    """The same requests get the same tokens, and none is complete sooner than the steps of its own
    take: whatever else this machine does can only make them later."""
    out = tmp_path / "out"
    with serving(path) as server:
        assert live(path, server.url, out, "--prompts", prompts) == 0
        assert gauge(server.url, "vllm:request_success_total") == 40
        assert server.end() == 0
    measured = load_result(out)
    simulated = simlora.simulate(simlora.load_scenario(path))
    assert measured.summary["requests"]["completed"] == 40
    rows = measured.requests.sort_values("request").reset_index()
    asked = simulated.requests.sort_values("request").reset_index()
    rare = simlora.load_scenario(path, {"workload.rate_rps": 0.01})
    alone = simlora.simulate(rare).requests.sort_values("request").reset_index()
    for column in ("tenant", "adapter", "prompt_tokens", "output_tokens"):
        assert rows[column].astype(str).tolist() == asked[column].astype(str).tolist()
        assert rows[column].astype(str).tolist() == alone[column].astype(str).tolist()
    # In company steps are no shorter, and the client's time begins before the server's.
    assert (rows["e2e_s"] >= alone["decode_s"]).all()
    assert alone["decode_s"].mean() > 0.2  # tokens that are not paced would be there sooner
    phases = rows[["queue_s", "adapter_wait_s", "prefill_s", "decode_s", "preempted_s"]]
    assert phases.sum(axis=1).tolist() == pytest.approx(rows["e2e_s"].tolist())
    ((run,),) = map(read_runs, read_tables([out / "runs.csv"], Selection()))
    tpot_s = measured.summary["latency"]["tpot_s"]["mean"]
    assert run.measured["tpot_mean_s"] == pytest.approx(tpot_s)
    assert run.scenario.name == "stand-in"


def test_clients_that_are_turned_away_come_again_as_the_scenario_says(
    path: Path, tmp_path: Path
) -> None:
    settings = [
        *("--set", "workload.clients.retries=1", "--set", "workload.popularity={zipf: 2.0}"),
        *("--set", "workload.arrivals=constant", "--set", "workload.rate_rps=20"),
    ]
    limit = "gateway.rate_limits={standard: {rps: 2, burst: 1}}"
    out = tmp_path / "out"
    with serving(path, "--set", limit) as server:
        assert live(path, server.url, out, *settings) == 0
    result = load_result(out)
    requests, rows = result.summary["requests"], result.requests
    assert requests["offered"] == 40
    assert requests["rejected"] > 0
    assert requests["completed"] + requests["rejected"] == 40
    assert set(requests["reasons"]["rejected"]) == {"rate_limit"}
    again = rows[rows["attempts"] == 2]
    assert (again["status"] == "completed").any()
    assert set(rows[rows["status"] == "rejected"]["attempts"]) == {2}
    completed = again[again["status"] == "completed"]
    assert completed["queue_s"].max() > 0.02  # some were told to wait for longer
    phases = completed["queue_s"] + completed["prefill_s"] + completed["decode_s"]
    assert phases.tolist() == pytest.approx(completed["e2e_s"].tolist())


async def _stream(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, int, bytes]:
    """Status, number of tokens, and how the stream ends."""
    tokens, last = 0, b""
    async with client.stream("POST", "/v1/completions", json=body) as response:
        async for line in response.aiter_lines():
            tokens += '"text":' in line
            last = line.encode() or last
        return response.status_code, tokens, last


def test_two_hundred_streams_at_once_all_complete(path: Path) -> None:
    async def ask(url: str) -> list[tuple[int, int, bytes]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=url, limits=limits, timeout=120, trust_env=False
        ) as client:
            bodies = [
                LONG | {"model": f"tenant-{n % 8:04d}", "max_tokens": 20 + n % 7, "stream": True}
                for n in range(200)
            ]
            return await asyncio.gather(*(_stream(client, body) for body in bodies))

    with serving(path) as server:
        outcomes = asyncio.run(ask(server.url))
        assert gauge(server.url, "vllm:num_requests_running") == 0
    assert outcomes == [(200, 20 + n % 7, b"data: [DONE]") for n in range(200)]


def test_clients_that_hang_up_leave_no_memory_behind(path: Path) -> None:
    with serving(path, "--set", "engine.prefix_cache.enabled=false") as server:

        async def come_and_go() -> None:
            async with httpx.AsyncClient(
                base_url=server.url, timeout=60, trust_env=False
            ) as client:
                bodies = [LONG | {"stream": number % 2 == 0} for number in range(8)]
                calls = [asyncio.create_task(_stream(client, body)) for body in bodies]
                while gauge(server.url, "vllm:num_requests_running") < 8:
                    await asyncio.sleep(0.01)
                assert gauge(server.url, "vllm:kv_cache_usage_perc") > 0
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)

        asyncio.run(come_and_go())
        wait_until_idle(server.url)
        assert gauge(server.url, "vllm:kv_cache_usage_perc") == 0
        assert gauge(server.url, "simlora:requests_not_answered_total") == 8
        assert gauge(server.url, "vllm:request_success_total") == 0


def _under_load(path: Path, grace: str, tokens: Sequence[int]) -> tuple[int, list[Any], int]:
    """End a server with requests under way. Its exit code, what they were told, and the status of
    a request that came after the signal."""

    async def act(server: Serving) -> tuple[list[Any], int]:
        async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
            bodies = [LONG | {"max_tokens": count, "stream": True} for count in tokens]
            asked = [asyncio.create_task(_stream(client, body)) for body in bodies]
            while (
                gauge(server.url, "vllm:num_requests_running") < len(tokens)
                or gauge(server.url, "vllm:generation_tokens_total") == 0
            ):
                await asyncio.sleep(0.01)
            server.process.send_signal(signal.SIGTERM)
            while (await client.get("/health")).status_code == 200:
                await asyncio.sleep(0.01)
            late = await client.post("/v1/completions", json=LONG)
            return await asyncio.gather(*asked, return_exceptions=True), late.status_code

    with serving(path, "--grace", grace) as server:
        outcomes, late = asyncio.run(act(server))
        return server.process.wait(timeout=60), outcomes, late


def test_on_sigterm_requests_under_way_are_finished_and_no_more_are_taken(path: Path) -> None:
    code, outcomes, late = _under_load(path, "60", [150, 200, 250])
    assert (code, late) == (0, 503)
    assert outcomes == [(200, count, b"data: [DONE]") for count in (150, 200, 250)]


def test_when_the_grace_is_over_what_is_left_is_told_so(path: Path) -> None:
    code, outcomes, late = _under_load(path, "1", [100_000])
    assert (code, late) == (0, 503)
    ((status, tokens, last),) = outcomes
    assert status == 200
    assert 0 < tokens < 100_000  # which take ten minutes
    assert last == b"data: [DONE]"  # after the event that says why


def test_keys_are_printed_once_and_hold_over_http(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, lines = {}, []
    for tenant in ("tenant-0000", "tenant-0001", "*"):
        assert main(["serve", "--new-key", tenant]) == 0
        line, told = capsys.readouterr()
        keys[tenant] = told.split()[-1]
        lines.append(line)
    file = tmp_path / "keys.yaml"
    file.write_text("".join(lines))
    body = LONG | {"max_tokens": 2}

    def status(url: str, key: str | None) -> int:
        headers = {"authorization": f"Bearer {keys[key]}"} if key else {}
        return httpx.post(
            f"{url}/v1/completions", json=body, headers=headers, trust_env=False
        ).status_code

    with serving(path, "--api-keys", str(file)) as server:
        asked = [status(server.url, key) for key in ("tenant-0000", "*", "tenant-0001", None)]
        assert asked == [200, 200, 404, 401]
        out = tmp_path / "out"
        few = ("--set", "workload.max_requests=5")
        assert live(path, server.url, out, *few, "--api-key", keys["*"]) == 0
        assert load_result(out).summary["requests"]["completed"] == 5
        assert live(path, server.url, out, *few, "--api-key", "wrong") == 2
    assert "does not take the API key: HTTP 401" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", "--host", "0.0.0.0"], "--host 0.0.0.0: others could ask in anybody's name"),
        (["serve", "--host", "127.0.0.1", "--api-keys", "nothing.yaml"], "nothing.yaml: cannot be"),
        (["serve", "--set", "adapters.hot.eviction=belady"], "belady knows the future"),
        (["live", "S", "--engine", "openai"], "--engine openai: needs --url"),
        (["live", "S", "--url", "http://x"], "--url: goes with --engine openai only"),
        (["live", "S", "--engine", "openai", "--url", "x"], "must begin with http://"),
        (
            ["live", "S", "--engine", "openai", "--url", "http://127.0.0.1:9"],
            "--url http://127.0.0.1:9: cannot be reached",
        ),
        (
            ["live", "S", *ELSEWHERE, "--model-name-template", "{name}"],
            "--model-name-template: '{name}' must name the adapter",
        ),
        (
            ["live", "S", *ELSEWHERE, "--load-adapters", "/a"],
            "--load-adapters: '/a' must name the adapter",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    filled = [str(path) if argument == "S" else argument for argument in arguments]
    if arguments[0] == "live":
        filled += ["--out", str(tmp_path / "out")]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_port_that_is_taken_and_models_that_are_missing_are_told(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(path) as server:
        port = server.url.rpartition(":")[2]
        assert main(["serve", str(path), "--port", port]) == 2
        assert f"--port {port}: cannot listen there" in capsys.readouterr().err
        template = ("--model-name-template", "lora-{index}")
        assert live(path, server.url, tmp_path / "out", *template) == 2
        assert re.search(r'has no model "lora-0" and \d others', capsys.readouterr().err)
        adapters = ("--load-adapters", "/adapters/{adapter}")
        assert live(path, server.url, tmp_path / "out", *adapters) == 2
        assert "would not load adapter tenant-0000 from /adapters/tenant-0000: HTTP 404" in (
            capsys.readouterr().err
        )


def test_ctrl_c_of_a_live_run_keeps_what_has_been_measured(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serving(path) as server:
        command = [sys.executable, "-m", "simlora", "live", str(path), "--engine", "openai"]
        command += ["--url", server.url, "--out", str(out), "--set", "workload.max_requests=100000"]
        process = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "error"})
        while gauge(server.url, "vllm:request_success_total") < 5:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        wait_until_idle(server.url)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["requests"]["completed"] == summary["requests"]["offered"] >= 5
    assert summary["simulation"]["interrupted"]
