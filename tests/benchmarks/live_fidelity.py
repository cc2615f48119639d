"""How far a simulation is from the live run of the same scenario, on this machine's CPU.

python -m tests.benchmarks.live_fidelity [--profile FILE.json] [--rounds 3] [--set KEY=VALUE ...]

Serves scenarios/live-tiny.yaml with the real engine, and simulates it with a profile that
`calibrate --device cpu --model tiny-llama` wrote, which is made first unless one is given. It
should be of the same day: what a step takes depends on what else the machine does. Each round is
of another seed, and tells what of the machine others took meanwhile: they slow the engine down,
also on cores of their own. The exit code is 1 if a figure is beyond its bar.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simlora.calibration.hardware import Machine, calibrate_machine
from simlora.live import run_live
from simlora.scenario.loading import load_scenario, parse_setting
from simlora.sim import simulate

SCENARIO = Path(__file__).resolve().parents[2] / "scenarios" / "live-tiny.yaml"

# Largest error: relative, but for the hit ratio, where it is a difference.
BARS = {
    "throughput.output_tokens_per_s": 0.05,
    "latency.ttft_s.p50": 0.15,
    "latency.tpot_s.mean": 0.15,
    "adapters.hit_ratio": 0.02,
}
TOLD = (*BARS, "latency.e2e_s.p50", "latency.ttft_s.p99", "batch.mean_step_s", "batch.busy_ratio")


def figure(summary: dict[str, Any], name: str) -> float:
    """A figure of `summary.json` by its dotted name."""
    value: Any = summary
    for part in name.split("."):
        value = value[part]
    return float(value)


class Others:
    """What other processes take of the machine's cores (Linux), from here on."""

    def __init__(self) -> None:
        self._busy_s, self._started_s = self._seconds(), time.perf_counter()

    @staticmethod
    def _seconds() -> float:
        """Busy time of all cores without this process."""
        line = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
        user, nice, system, *_ = (int(cell) for cell in line.split()[1:])
        own = os.times()
        return (user + nice + system) / os.sysconf("SC_CLK_TCK") - own.user - own.system

    def share(self) -> float:
        """Their part of all cores' time."""
        elapsed_s = (time.perf_counter() - self._started_s) * (os.cpu_count() or 1)
        return (self._seconds() - self._busy_s) / elapsed_s


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
    settings = dict(map(parse_setting, given.settings))
    beyond = 0
    with TemporaryDirectory() as folder:
        profile = given.profile
        if profile is None:
            profile = Path(folder) / "cpu.json"
            measured = calibrate_machine(Machine("tiny-llama", "cpu", "cpu"), "cpu", profile)
            profile.write_text(measured.profile.model_dump_json())
        for seed in range(given.rounds):
            scenario = load_scenario(
                SCENARIO, settings | {"seed": seed, "timing.profile": str(profile.resolve())}
            )
            others = Others()
            live = run_live(scenario, Path(folder) / f"live-{seed}", device="cpu").summary
            share = others.share()
            simulated = simulate(scenario).summary
            done = live["requests"]["completed"]
            print(f"round {seed + 1}: {done} requests completed; others took {share:.0%}")
            for name in TOLD:
                predicted, found = figure(simulated, name), figure(live, name)
                difference = predicted - found
                error = difference if name == "adapters.hit_ratio" else difference / found
                bar = BARS.get(name)
                verdict = "" if bar is None else "ok" if abs(error) <= bar else "BEYOND"
                beyond += verdict == "BEYOND"
                print(f"  {name:34} {predicted:10.4g} {found:10.4g} {error:+8.1%}  {verdict}")
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
