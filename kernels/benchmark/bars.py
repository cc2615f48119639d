"""What is asked of the kernels, and whether it was met.

A decode step's LoRA may take up to 1.5 times its floor: the time of its bytes at the bandwidth of
a copy, and 1.2 us for each launch, about what an empty kernel takes in a CUDA graph. Of torch's
ways to compute the same, gather and bmm has to take 3 times as long as the kernels, and a loop over
adapters 5 times, summed over a layer's four groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernels.benchmark.device import DeviceFacts
from kernels.benchmark.lora_cases import EMPTY, GATHER_BMM, LOOP
from kernels.benchmark.plan import Plan
from kernels.benchmark.results import Result
from kernels.shapes import GROUPS

LAUNCH_US = 1.2
STEP_LIMIT = 1.5
TORCH_LIMITS = {GATHER_BMM: 3.0, LOOP: 5.0}


@dataclass(frozen=True, slots=True)
class StepShares:
    """What the time of a step's LoRA goes into, microseconds: its bytes at the bandwidth of a copy,
    as many launches of an empty kernel, and the rest, which the kernels have to answer for."""

    adapters: int
    total_us: float
    bytes_us: float
    launches_us: float
    floor_us: float  # with LAUNCH_US a launch

    @classmethod
    def of(cls, result: Result, facts: DeviceFacts) -> StepShares:
        """Of a measured step."""
        bytes_us = facts.bytes_us(result.work.bytes)
        floor_us = bytes_us + LAUNCH_US * result.work.launches
        return cls(result.adapters, result.us, bytes_us, result.others_us[EMPTY], floor_us)

    @property
    def rest_us(self) -> float:
        """May be negative: reading alone is faster than copying, and launches overlap with it."""
        return self.total_us - self.bytes_us - self.launches_us

    @property
    def times_floor(self) -> float:
        """Time as a multiple of the floor."""
        return self.total_us / self.floor_us


@dataclass(frozen=True, slots=True)
class Bar:
    """A factor with a limit; `measured` is None where cases that it takes were not measured, and
    `judged` is whether the limit is meant for the device and the sizes."""

    what: str
    measured: float | None
    limit: float
    at_most: bool
    judged: bool

    @property
    def asked(self) -> str:
        """The limit in words."""
        return f"{'<=' if self.at_most else '>='} {self.limit:g} x"

    @property
    def verdict(self) -> str:
        """`met`, `NOT MET`, `not judged` or `not measured`."""
        if self.measured is None:
            return "not measured"
        if not self.judged:
            return "not judged"
        met = self.measured <= self.limit if self.at_most else self.measured >= self.limit
        return "met" if met else "NOT MET"


def step_shares(results: Sequence[Result], facts: DeviceFacts) -> list[StepShares]:
    """Of all steps among the results."""
    return [StepShares.of(each, facts) for each in results if EMPTY in each.others_us]


def judge(results: Sequence[Result], facts: DeviceFacts, plan: Plan, *, judged: bool) -> list[Bar]:
    """All bars, for each number of distinct adapters. They are for a GPU and full sizes: `judged`
    says whether these are."""
    bars = []
    steps = {step.adapters: step for step in step_shares(results, facts)}
    for adapters in plan.adapters:
        times_floor = steps[adapters].times_floor if adapters in steps else None
        what = f"LoRA of a decode step, {_adapters(adapters)}: time over floor"
        bars.append(Bar(what, times_floor, STEP_LIMIT, at_most=True, judged=judged))
    for name, limit in TORCH_LIMITS.items():
        for adapters in plan.adapters:
            layer = [e for e in results if name in e.others_us and e.adapters == adapters]
            speedup = None
            if {each.name for each in layer} == set(GROUPS):
                speedup = sum(e.others_us[name] for e in layer) / sum(e.us for e in layer)
            what = f"a layer's LoRA, {_adapters(adapters)}: torch's {name} over the kernels"
            bars.append(Bar(what, speedup, limit, at_most=False, judged=judged))
    return bars


def _adapters(count: int) -> str:
    return f"{count} adapter{'s' * (count > 1)}"
