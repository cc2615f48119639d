"""Serving until a signal says to end."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from typing import Any

import uvicorn

from simlora.errors import UserError
from simlora.live.signals import on_signals
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serve.answer import Answer
from simlora.serve.app import OpenAIServer
from simlora.serve.connections import Connection
from simlora.serve.keys import Keys
from simlora.serve.metrics import Metrics
from simlora.serve.replica import Replica, Watcher
from simlora.serve.simulated import SimulatedReplica

BACKLOG = 4096  # connections that wait to be taken; a load test opens many at once
TERMINATED = 128 + signal.SIGTERM  # exit code, as shells have it
_LOOK_S = 0.05  # between two looks whether all running requests have ended


class Service:
    """The parts of a server for a scenario of one replica, put together. Raises UserError for what
    is wrong with the scenario."""

    def __init__(
        self,
        scenario: Scenario,
        keys: Keys | None = None,
        metrics: Callable[[Deployment], Metrics] = Metrics,
        replica: Callable[[Deployment, Watcher], Replica] = SimulatedReplica,
    ) -> None:
        deployment = expand(scenario)
        self.metrics = metrics(deployment)
        self.replica = replica(deployment, self.metrics)
        self.metrics.read_from(self.replica)
        self.openai = OpenAIServer(self.replica, self.metrics, keys)
        self.app = self.openai.app()


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, port 0 to any free one. Raises UserError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--host {host} --port {port}: cannot listen there: {reason}") from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within this context SIGTERM ends the process with exit code 143 as `sys.exit` does, so that
    nothing is left in temporary directories; `serve` takes signals over while it runs. Signals
    reach the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def serve(
    service: Service, listener: socket.socket, *, grace_s: float, note: Callable[[str], None]
) -> None:
    """Answer requests until SIGTERM or SIGINT; then no more are taken, and those under way have
    `grace_s` seconds to end. A second signal ends them at once. Raises AssertionError if at the end
    some of the replica's memory is not accounted for."""
    _allow_many_files()
    # What is there now stays, and is not to be looked through at every collection.
    gc.collect()
    gc.freeze()
    asyncio.run(_serve(service, listener, grace_s, note))


async def _serve(
    service: Service, listener: socket.socket, grace_s: float, note: Callable[[str], None]
) -> None:
    config = uvicorn.Config(
        service.app,
        loop="asyncio",
        http=Connection,
        lifespan="off",
        ws="none",
        log_level="error",
        access_log=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=2,
    )
    http = _Quiet(config)
    ending = asyncio.Event()
    hurry = asyncio.Event()

    def ask() -> None:
        if ending.is_set():
            hurry.set()
        ending.set()

    with on_signals(ask):
        running = asyncio.create_task(service.replica.run())
        serving = asyncio.create_task(http.serve(sockets=[listener]))
        asked = asyncio.create_task(ending.wait())
        tasks: set[asyncio.Task[Any]] = {running, serving, asked}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            service.openai.draining_s = grace_s
            if asked.done():
                await _drain(service.replica.answers, grace_s, running, hurry, note)
            _cut_off(service.replica, "engine" if running.done() else "shutting_down", note)
            http.should_exit = True
            await serving
            service.replica.stop()
            await running  # raises what ended it
            service.replica.check()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _drain(
    answers: Mapping[int, Answer],
    grace_s: float,
    running: asyncio.Task[None],
    hurry: asyncio.Event,
    note: Callable[[str], None],
) -> None:
    """Let the answers end, for a while."""
    if answers:
        note(f"no more requests are taken; {len(answers)} have {grace_s:g} s to end")
    loop = asyncio.get_running_loop()
    until_s = loop.time() + grace_s
    while answers and loop.time() < until_s and not (hurry.is_set() or running.done()):
        await asyncio.sleep(_LOOK_S)


def _cut_off(replica: Replica, reason: str, note: Callable[[str], None]) -> None:
    answers = list(replica.answers.values())
    if answers:
        note(f"{len(answers)} requests are cut off")
    for answer in answers:
        replica.give_up(answer, reason)


class _Quiet(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _allow_many_files() -> None:
    """As many open connections as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
