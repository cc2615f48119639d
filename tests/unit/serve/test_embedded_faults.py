"""What goes wrong beside a client of the real engine is not its problem, and leaves nothing."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from simlora.serve.run import Service, listen, serve
from simlora.serving.page_pool import KV
from tests.unit.serve.calling import Call
from tests.unit.serve.embedding import (
    completion,
    engine,
    replica_of,
    scenario,
    service,
    text_of,
    write_config,
)
from tests.unit.serve.service import running, until, with_client

NO_CACHE = {"enabled": False}
STORED = {"initial_tier": "store", "store": {"latency_s": 0.0}, "loading": {"retries": 0}}
LONG = completion([1, 2, 3], max_tokens=100, stream=True)


def idle(served: Service) -> bool:
    """Whether nothing of any request is left."""
    scheduler = served.replica.server.scheduler
    nothing = not (served.replica.answers or scheduler.running or scheduler.waiting)
    return nothing and scheduler.memory.pool.held[KV] == 0


# --- clients that go away ------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_the_memory_of_one_that_left_in_the_middle_is_free_again(
    stream: bool, tmp_path: Path
) -> None:
    asked = scenario(write_config(tmp_path), engine=engine(prefix_cache=NO_CACHE))
    served = service(asked)

    async def act() -> None:
        async with asyncio.timeout(60), running(served):
            call = Call(served, LONG | {"stream": stream})
            answers = served.replica.answers
            await until(lambda: bool(answers) and answers[0].emitted > 3)
            assert served.replica.server.scheduler.memory.pool.held[KV] > 0
            await call.go()
            await until(lambda: idle(served))

    asyncio.run(act())
    served.replica.check()
    assert b'reason="disconnected"} 1.0' in served.metrics.text()


def test_whoever_leaves_takes_nothing_from_those_who_stay(tmp_path: Path) -> None:
    """Many come and go, at random and before they are computed, more than memory is there for."""
    small = engine(memory={"kv_cache_tokens": 320}, prefix_cache=NO_CACHE)
    served = service(scenario(write_config(tmp_path), engine=small))
    random = np.random.default_rng(4)
    bodies = [
        completion([n, 5, 6], model=f"tenant-{n % 4:04}", max_tokens=20 + n, stream=True)
        for n in range(48)
    ]
    expected = {}

    async def act() -> None:
        async with asyncio.timeout(120), running(served):
            for n in range(0, 48, 7):
                call = Call(served, bodies[n])
                await call.task
                expected[n] = call.text
            calls, leavers = [Call(served, body) for body in bodies], set[int]()
            while len(leavers) < 24:
                await asyncio.sleep(0.002)
                leaver = int(random.integers(0, 48))
                if leaver not in expected:
                    leavers.add(leaver)
                    await calls[leaver].go()
            await asyncio.gather(*(call.task for call in calls))
            await until(lambda: idle(served))
            for n in set(range(48)) - leavers:
                assert calls[n].sent.count(b'"text":') == 20 + n
            for n, text in expected.items():
                assert calls[n].text == text

    asyncio.run(act())
    served.replica.check()


def test_more_streams_than_memory_are_all_answered(tmp_path: Path) -> None:
    """Preempted, computed again and told no token twice."""
    small = engine(memory={"kv_cache_tokens": 320}, prefix_cache=NO_CACHE)
    served = service(scenario(write_config(tmp_path), engine=small))
    bodies = [completion([n, 5, 6], max_tokens=60, stream=True) for n in range(8)]

    async def act() -> tuple[list[str], list[str]]:
        async with asyncio.timeout(120), running(served):
            calls = [Call(served, body) for body in bodies]
            await asyncio.gather(*(call.task for call in calls))
            assert served.replica.server.scheduler.preemptions > 0
            alone = [Call(served, bodies[0])]
            for body in bodies[1:3]:
                await alone[-1].task
                alone.append(Call(served, body))
            await alone[-1].task
            return [call.text for call in calls], [call.text for call in alone]

    together, alone = asyncio.run(act())
    served.replica.check()
    assert together[:3] == alone
    assert all(len(text.split()) == 60 for text in together)


# --- adapters ------------------------------------------------------------------------------


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Other tensors in an adapter's file."""
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def poison(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def widen(tensors: dict[str, torch.Tensor]) -> None:
    """Of a base model whose hidden states are twice as wide."""
    for name, tensor in tensors.items():
        if name.endswith("lora_A.weight"):
            tensors[name] = torch.cat([tensor, tensor], dim=1).contiguous()


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(os.getcwd))


def configured(folder: Path, **fields: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def fewer_modules(folder: Path) -> None:
    """A sound adapter, but not the one that memory was planned for."""
    edit(folder, lambda tensors: [tensors.pop(n) for n in list(tensors) if "q_proj" not in n])
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    targets = [name for name in config["target_modules"] if name.endswith("q_proj")]
    path.write_text(json.dumps(config | {"target_modules": targets}))


def rank_two(folder: Path) -> None:
    def halve(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            part = tensor[:2] if name.endswith("lora_A.weight") else tensor[:, :2]
            tensors[name] = part.contiguous()

    edit(folder, halve)
    configured(folder, r=2)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "truncated": cut,
    "not a number": lambda folder: edit(folder, poison),
    "another rank than its config": lambda folder: configured(folder, r=8),
    "a lower rank than planned": rank_two,
    "fewer modules than planned": fewer_modules,
    "another base model": lambda folder: edit(folder, widen),
    "a pickle": pickled,
    "no config": lambda folder: (folder / "adapter_config.json").unlink(),
    "not there": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_adapter_fails_its_own_requests_and_no_others(damage: str, tmp_path: Path) -> None:
    """Asked for among others, again and again; they are answered as if it had not been there."""
    folder = write_config(tmp_path)
    served = service(scenario(folder, adapters=STORED))
    DAMAGES[damage](replica_of(served).directory / "store" / "1")
    names = ["tenant-0000", "tenant-0001", "tenant-0002", folder.name] * 4
    bodies = [completion([n % 4, 8, 9], model=name) for n, name in enumerate(names)]

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("completions", json=body) for body in bodies))

    responses = with_client(served, act)
    good = service(scenario(folder, adapters=STORED))
    expected = with_client(good, act)
    for name, response, sound in zip(names, responses, expected, strict=True):
        if name == "tenant-0001":
            assert response.status_code == 503
            error = response.json()["error"]
            assert (error["code"], error["message"]) == (
                "adapter_load",
                "the adapter could not be loaded",
            )
        else:
            assert text_of(response.json()) == text_of(sound.json())
    assert all(response.status_code == 200 for response in expected)


# --- the end -------------------------------------------------------------------------------


def end_when_up(url: str) -> threading.Thread:
    """Ask this process to end once a server in it answers."""

    def wait_and_ask() -> None:
        while True:
            try:
                if httpx.get(f"{url}/health", trust_env=False, timeout=60).status_code == 200:
                    break
            except httpx.TransportError:
                continue
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=wait_and_ask)
    thread.start()
    return thread


def test_memory_that_is_missing_at_the_end_is_no_good_end(tmp_path: Path) -> None:
    served = service(scenario(write_config(tmp_path)))
    replica_of(served).engine.pool.take_blocks(1, KV)  # behind the scheduler's back
    with listen("127.0.0.1", 0) as listener:
        thread = end_when_up(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(AssertionError):
            serve(served, listener, grace_s=5, note=lambda _: None)
    thread.join()


def test_a_sound_server_ends_well(tmp_path: Path) -> None:
    served = service(scenario(write_config(tmp_path)))
    with listen("127.0.0.1", 0) as listener:
        thread = end_when_up(f"http://127.0.0.1:{listener.getsockname()[1]}")
        serve(served, listener, grace_s=5, note=lambda _: None)
    thread.join()
    assert not replica_of(served).directory.exists()


def test_an_engine_that_breaks_ends_the_server_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is kept waiting for what will never come."""
    served = service(scenario(write_config(tmp_path)))

    def broken(*_: Any) -> list[int]:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(replica_of(served).engine, "run", broken)
    told: list[httpx.Response] = []
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1/completions"

        def ask() -> None:
            told.append(httpx.post(url, json=completion([1, 2]), trust_env=False, timeout=60))

        thread = threading.Thread(target=ask)
        thread.start()
        with pytest.raises(RuntimeError, match="the device is gone"):
            serve(served, listener, grace_s=5, note=lambda _: None)
        thread.join()
    assert told[0].status_code == 503
    assert told[0].json()["error"]["message"] == "the engine has failed"
