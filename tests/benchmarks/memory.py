"""Peak memory of simulating 1,000,000 requests, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from simlora import simulate
from tests.benchmarks.speed import scenario

REQUESTS = 1_000_000


def main() -> None:
    """Start this module as a process and let it print its own peak."""
    subprocess.run([sys.executable, "-m", __spec__.name], check=True)


def _measure() -> None:
    with TemporaryDirectory() as directory:
        started_s = time.perf_counter()
        simulate(scenario(REQUESTS), out=Path(directory))
        wall_s = time.perf_counter() - started_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\n{REQUESTS:,} requests: {wall_s:.1f} s, peak memory {peak_mb:,.0f} MB")


if __name__ == "__main__":
    _measure()
