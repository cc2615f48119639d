"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from kernels.benchmark.bars import LAUNCH_US, Bar, StepShares
from kernels.benchmark.device import DeviceFacts
from kernels.benchmark.results import Result

HEADER = (
    f"{'kernel':14} {'':15} {'tokens':>6} {'adapters':>8} {'rank':>6} {'context':>7} {'us':>9} "
    f"{'us/launch':>9} {'MB':>8} {'GB/s':>6} {'TFLOP/s':>7} {'bytes/roof':>10}  against it"
)


def device_line(facts: DeviceFacts) -> str:
    """What the device can do."""
    return (
        f"{facts.name}, {facts.dtype}: a copy moves {facts.bytes_per_s / 1e9:,.0f} GB/s, a matrix "
        f"product does {facts.flops_per_s / 1e12:,.1f} TFLOP/s, an empty launch takes "
        f"{facts.launch_us:.2f} us (torch {facts.torch}; triton {facts.triton})"
    )


def result_line(result: Result, facts: DeviceFacts) -> str:
    """One case; numbers that mean nothing to it are left out."""
    others = ", ".join(f"{name} {us / result.us:.1f} x" for name, us in result.others_us.items())
    return (
        f"{result.kind:14} {result.name:15} {result.tokens:6} {result.adapters or '':>8} "
        f"{result.rank:>6} {result.context or '':>7} {result.us:9.1f} "
        f"{result.us / result.work.launches:9.2f} {result.work.bytes / 1e6:8.1f} "
        f"{result.bytes_per_s / 1e9:6.0f} {result.flops_per_s / 1e12:7.2f} "
        f"{result.bytes_per_s / facts.bytes_per_s:10.0%}  {others}"
    )


def step_table(steps: Sequence[StepShares]) -> str:
    """Where the time of a decode step's LoRA goes."""
    lines = [
        f"What LoRA adds to a decode step, us (floor: bytes, and {LAUNCH_US} us a launch)",
        f"{'adapters':>8} {'all':>9} {'bytes':>15} {'launches':>15} {'the rest':>15} {'floor':>9}",
    ]
    for step in steps:
        shares = "".join(
            f" {us:9.1f} {us / step.total_us:5.0%}"
            for us in (step.bytes_us, step.launches_us, step.rest_us)
        )
        lines.append(f"{step.adapters:8} {step.total_us:9.1f}{shares} {step.floor_us:9.1f}")
    return "\n".join(lines)


def bars_table(bars: Sequence[Bar]) -> str:
    """What is asked, what was measured, met or not."""
    width = max(len(bar.what) for bar in bars)
    lines = [f"{'bar':{width}} {'asked':>8} {'measured':>9}"]
    for bar in bars:
        measured = "" if bar.measured is None else f"{bar.measured:.2f} x"
        lines.append(f"{bar.what:{width}} {bar.asked:>8} {measured:>9}  {bar.verdict}")
    return "\n".join(lines)
