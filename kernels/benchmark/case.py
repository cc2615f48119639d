"""One thing to measure, and the check of its result that comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from kernels.benchmark.work import Work

Run = Callable[[], object]

# Of the largest element. A result in bfloat16 may be off by a unit in its last place, 2^-7, and
# what torch rounds once more on the way by half as much again.
TOLERANCE = {torch.bfloat16: 2e-2, torch.float32: 1e-4}


class WrongResult(Exception):
    """A kernel, or what it is compared with, does not compute what it should."""


@dataclass(slots=True)
class Prepared:
    """A case with its operands in memory. All of the runs write to `outputs`, in place; those of
    `untested` to nothing that is looked at."""

    run: Run
    reference: Run  # kernels.torch_ops
    outputs: list[Tensor]
    baselines: dict[str, Run] = field(default_factory=dict)
    untested: dict[str, Run] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """`kind` says which table it belongs to, `name` which of the kind; the sizes that mean nothing
    to it are 0 or empty."""

    kind: str
    name: str
    work: Work
    prepare: Callable[[], Prepared]
    tokens: int
    adapters: int = 0
    rank: str = ""
    context: int = 0

    @property
    def title(self) -> str:
        """The case in words."""
        sizes = [f"{self.tokens} tokens"]
        if self.adapters:
            sizes.append(f"{self.adapters} adapters of rank {self.rank}")
        if self.context:
            sizes.append(f"context {self.context}")
        return f"{self.kind} {self.name}: {', '.join(sizes)}"


def check(prepared: Prepared) -> float:
    """Compare results with the torch ops', then put the outputs back as they were.

    Returns the kernel's largest error as a part of the largest element. Raises WrongResult.
    """
    before = [output.clone() for output in prepared.outputs]

    def results(run: Run) -> list[Tensor]:
        run()
        results = [output.clone() for output in prepared.outputs]
        for output, old in zip(prepared.outputs, before, strict=True):
            output.copy_(old)
        return results

    expected = results(prepared.reference)
    error = _compare("the kernel", results(prepared.run), expected)
    for name, baseline in prepared.baselines.items():
        _compare(name, results(baseline), expected)
    return error


def _compare(name: str, actual: list[Tensor], expected: list[Tensor]) -> float:
    worst = 0.0
    for got, wanted in zip(actual, expected, strict=True):
        largest = float(wanted.abs().max())
        error = float((got.float() - wanted.float()).abs().max()) / largest
        # NaN is not below anything.
        if not (largest > 0 and error <= TOLERANCE[wanted.dtype]):
            raise WrongResult(f"{name} is off by {error:.2g} of the largest element")
        worst = max(worst, error)
    return worst
