"""How much later than they are due the tokens of `simlora serve` arrive at its clients.

python -m tests.benchmarks.serve_overhead [--streams 200] [--tokens 200] [--set KEY=VALUE ...]

A process serves; this one opens the streams, all at once, over loopback. The overhead of a token is
the time at which its chunk has been read here, less the time at which the step that made it is due
by the simulation: both by the machine's monotonic clock, which processes share. The exit code is 1
if its p99 is 20 ms or more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from simlora.scenario.loading import parse_setting
from simlora.scenario.schema import Scenario
from simlora.serve.metrics import Metrics
from simlora.serve.run import Service, listen, serve
from simlora.serve.simulated import SimulatedReplica
from simlora.serving.request import Request

BAR_S = 0.020
SCENARIO = {
    "name": "overhead",
    "model": "llama-3.1-8b",
    "fleet": [{"gpu": "l40s"}],
    "tenants": [{"name": "tenant", "count": 20, "adapter": {"rank": 16}}],
    "workload": {"rate_rps": 1.0},
    "engine": {"prefix_cache": {"enabled": False}, "max_model_len": 2048},
    "timing": {"profile": "roofline"},
}
PROMPT = "word " * 16

Times = list[tuple[int, float]]  # request, reading of the clock; a request's tokens in order


class Noting(Metrics):
    """Takes down when each token is due."""

    due: Times
    replica: SimulatedReplica

    def token(self, request: Request, gap_s: float | None, now: float) -> None:
        super().token(request, gap_s, now)
        self.due.append((request.index, self.replica.clock.real_s(now)))


def serve_noting(scenario: Scenario, folder: Path) -> None:
    """Serve until SIGTERM, then write when the tokens were due."""
    due: Times = []
    service = Service(scenario, metrics=Noting)
    noting = service.metrics
    assert isinstance(noting, Noting)
    assert isinstance(service.replica, SimulatedReplica)
    noting.due, noting.replica = due, service.replica
    with listen("127.0.0.1", 0) as listener:
        (folder / "port").write_text(str(listener.getsockname()[1]))
        serve(service, listener, grace_s=5.0, note=print)
    told = {"due": due, "lost_s": service.replica.lost_s, "cpu_s": time.process_time()}
    (folder / "due").write_text(json.dumps(told))


class Stream(asyncio.Protocol):
    """One request. Nothing is parsed while tokens come: that would be this client's own time."""

    def __init__(self, body: bytes) -> None:
        self.parts: list[tuple[float, bytes]] = []
        self.over = asyncio.get_running_loop().create_future()
        self._body = body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        head = b"POST /v1/completions HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
        transport.write(head + b"Content-Length: %d\r\n\r\n" % len(self._body) + self._body)

    def data_received(self, data: bytes) -> None:
        self.parts.append((time.perf_counter(), data))

    def connection_lost(self, _: Exception | None) -> None:
        self.over.set_result(None)

    @property
    def tokens(self) -> tuple[int, list[float]]:
        """The request's number, and when its tokens were read."""
        number, read_s = -1, []
        for at_s, data in self.parts:
            for line in data.split(b"\n"):
                if line.startswith(b'data: {"id"') and b'"choices":[{' in line:
                    number = int(line.split(b'"')[3].removeprefix(b"cmpl-"))
                    read_s.append(at_s)
        return number, read_s


def _itself(stream: Stream) -> Stream:
    return stream


async def load(port: int, streams: int, tokens: int) -> list[Stream]:
    """Open the streams and read them to their ends."""
    loop = asyncio.get_running_loop()
    opened = []
    for number in range(streams):
        body = {
            "model": f"tenant-{number % 20:04d}",
            "prompt": PROMPT,
            "max_tokens": tokens,
            "ignore_eos": True,
            "stream": True,
        }
        stream = Stream(json.dumps(body).encode())
        await loop.create_connection(partial(_itself, stream), "127.0.0.1", port)
        opened.append(stream)
    await asyncio.gather(*(stream.over for stream in opened))
    return opened


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    scenario = Scenario.model_validate(SCENARIO).with_overrides(
        dict(map(parse_setting, given.settings))
    )
    if given.serve is not None:
        serve_noting(scenario, given.serve)
        return 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        server = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--serve", name]
        )
        while not (folder / "port").exists() or not (folder / "port").read_text():
            if server.poll() is not None:
                return 1
            time.sleep(0.05)
        time.sleep(0.5)
        streams = asyncio.run(load(int((folder / "port").read_text()), given.streams, given.tokens))
        server.send_signal(signal.SIGTERM)
        server.wait()
        told = json.loads((folder / "due").read_text())
    return judge(streams, told, given.tokens)


def judge(streams: list[Stream], told: dict[str, object], tokens: int) -> int:
    """Print what was measured. Returns the exit code."""
    due_s: dict[int, list[float]] = {}
    due = told["due"]
    assert isinstance(due, list)
    for number, at_s in due:
        due_s.setdefault(number, []).append(at_s)
    late_s: list[float] = []
    complete = 0
    for stream in streams:
        number, read_s = stream.tokens
        complete += len(read_s) == tokens
        late_s += [read - due for read, due in zip(read_s, due_s[number], strict=False)]
    ends = sorted({at_s for _, at_s in due})
    p50, p90, p99, most = np.quantile(late_s, [0.5, 0.9, 0.99, 1.0])
    step_s = float(np.median(np.diff(ends)))
    print(
        f"{complete} of {len(streams)} streams complete, {len(late_s):,} tokens in "
        f"{ends[-1] - ends[0]:.1f} s, a step every {1000 * step_s:.1f} ms; the server computed "
        f"for {told['cpu_s']:.1f} s, its clock lost {told['lost_s']:.2f} s; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"a token comes later than it is due by {1000 * p50:.1f} ms (median), {1000 * p90:.1f} "
        f"(p90), {1000 * p99:.1f} (p99), {1000 * most:.1f} (most)"
    )
    good = complete == len(streams) and p99 < BAR_S
    print("ok" if good else "BEYOND")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
