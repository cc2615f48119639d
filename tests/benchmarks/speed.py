"""Simulated requests per wall second in one process, and where the time goes.

The load that peers publish figures for: Poisson at 5 requests/s, 512 prompt and 128 output tokens,
Llama-2-7B on one A100-80, 32 adapters, 10,000 requests; per-request records are written. On a
machine like the one this was developed on, Vidur simulates 554 requests/s of it, BLIS 816-2,370 and
the BSC digital twin 15,800.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from simlora import simulate
from simlora.scenario.schema import Scenario

REQUESTS = 10_000
REPETITIONS = 7

SCENARIO: dict[str, object] = {
    "name": "speed",
    "model": {"name": "llama-2-7b"},
    "fleet": [{"gpu": "a100-80gb"}],
    "tenants": [{"name": "tenant", "count": 32}],
    "workload": {
        "rate_rps": 5,
        "max_requests": REQUESTS,
        "prompt_tokens": {"fixed": 512},
        "output_tokens": {"fixed": 128},
    },
}


def scenario(requests: int = REQUESTS) -> Scenario:
    """The benchmark's load, with that many requests."""
    return Scenario.model_validate(SCENARIO).with_overrides({"workload.max_requests": requests})


def main() -> None:
    """Print requests per wall second and a profile by part of the package."""
    load = scenario()
    with TemporaryDirectory() as directory:
        out = Path(directory)
        simulate(load, out=out)  # imports and first-time set-up
        rates = []
        for _ in range(REPETITIONS):
            started_s = time.perf_counter()
            simulate(load, out=out)
            rates.append(REQUESTS / (time.perf_counter() - started_s))
        print(
            f"{REQUESTS:,} requests, records written: median {statistics.median(rates):,.0f} "
            f"requests per wall second (best {max(rates):,.0f}, worst {min(rates):,.0f})"
        )
        profile = cProfile.Profile()
        profile.enable()
        simulate(load, out=out)
        profile.disable()
    _print_profile(profile)


def _print_profile(profile: cProfile.Profile) -> None:
    """Own time by package, then by function (the profiler itself slows small functions)."""
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total_s = sum(entry[2] for entry in stats.values())
    parts: defaultdict[str, float] = defaultdict(float)
    functions = []
    for (file, line, name), (_, calls, own_s, *_) in stats.items():
        part = _part(file)
        parts[part] += own_s
        functions.append((own_s, calls, f"{part} {Path(file).name}:{line} {name}"))
    print("\nwhere the time goes:")
    for part, own_s in sorted(parts.items(), key=lambda item: -item[1]):
        if own_s > 0.01 * total_s:
            print(f"  {own_s / total_s:6.1%}  {part}")
    print("\nfunctions:")
    for own_s, calls, name in sorted(functions, reverse=True)[:15]:
        print(f"  {own_s / total_s:6.1%}  {calls:>9,} calls  {name}")


def _part(file: str) -> str:
    path = Path(file)
    names = path.parts
    if "simlora" in names:
        at = len(names) - 1 - names[::-1].index("simlora")
        return ".".join(names[at : at + 2]).removesuffix(".py")
    for package in ("simpy", "numpy", "pyarrow"):
        if package in names:
            return package
    return "python"


if __name__ == "__main__":
    main()
