"""`simlora serve` in a process of its own, on a scenario of eight tenants."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

SCENARIO = """\
name: stand-in
model: llama-3.1-8b
fleet: [{gpu: h100-80gb}]
tenants:
  - {name: tenant, count: 8, adapter: {rank: 16}}
workload:
  max_requests: 40
  rate_rps: 10
  prompt_tokens: {lognormal: {mean: 128, sigma: 0.6, min: 8, max: 512}}
  output_tokens: {lognormal: {mean: 40, sigma: 0.5, min: 2, max: 100}}
timing: {profile: roofline}
"""
SHORT = """\
import sys
from simlora.cli.main import main
from simlora.serve import connections
connections.HEADERS_S = {headers_s}
sys.exit(main(sys.argv[1:]))
"""
LONG = {"model": "tenant-0000", "prompt": "a b c", "max_tokens": 2000, "ignore_eos": True}


@dataclass(frozen=True, slots=True)
class Serving:
    process: subprocess.Popen[str]
    url: str

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serving(path: Path, *options: str, headers_s: float | None = None) -> Iterator[Serving]:
    """A server on a free port, ended at the end. `headers_s`: another limit of its connections."""
    start = ["-m", "simlora"]
    if headers_s is not None:
        start = ["-c", SHORT.format(headers_s=headers_s)]
    command = [sys.executable, *start, "serve", str(path), "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield Serving(process, found[0])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


def gauge(url: str, name: str) -> float:
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.search(rf"^{re.escape(name)}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])
