"""What was measured: a record a case, and files that are complete after each of them."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kernels.benchmark.case import Case
from kernels.benchmark.device import DeviceFacts
from kernels.benchmark.timing import Times
from kernels.benchmark.work import Work


@dataclass(frozen=True, slots=True)
class Result:
    """Times of a case, and medians of what it is compared with. `error` is the part of the largest
    element by which the result was off, before anything was timed."""

    kind: str
    name: str
    tokens: int
    adapters: int
    rank: str
    context: int
    work: Work
    times: Times
    error: float
    others_us: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, case: Case, times: Times, error: float, others_us: dict[str, float]) -> Result:
        """The result of a case."""
        sizes = (case.tokens, case.adapters, case.rank, case.context)
        return cls(case.kind, case.name, *sizes, case.work, times, error, others_us)

    @property
    def us(self) -> float:
        """Median time, microseconds."""
        return self.times.median_us

    @property
    def bytes_per_s(self) -> float:
        """Bytes that have to be moved over the time."""
        return self.work.bytes / self.us * 1e6

    @property
    def flops_per_s(self) -> float:
        """FLOPs over the time."""
        return self.work.flops / self.us * 1e6

    def row(self, facts: DeviceFacts) -> dict[str, Any]:
        """Flat, with what follows from the device's figures."""
        row = asdict(self)
        work, times, others = row.pop("work"), row.pop("times"), row.pop("others_us")
        return (
            row
            | times
            | work
            | {
                "us_per_launch": self.us / self.work.launches,
                "gb_per_s": self.bytes_per_s / 1e9,
                "tflop_per_s": self.flops_per_s / 1e12,
                "of_byte_roofline": self.bytes_per_s / facts.bytes_per_s,
                "of_compute_roofline": self.flops_per_s / facts.flops_per_s,
            }
            | {f"{name}_us": us for name, us in others.items()}
        )


class ResultFiles:
    """`device.json` at once, `results.jsonl` and `results.csv` as results come, and `failures.txt`
    if anything fails. Files of an earlier run give way."""

    def __init__(self, directory: Path, facts: DeviceFacts, run: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._facts = facts
        self._rows: list[dict[str, Any]] = []
        text = json.dumps(run | asdict(facts), indent=2) + "\n"
        (directory / "device.json").write_text(text, encoding="utf-8")
        for name in ("results.jsonl", "results.csv", "failures.txt"):
            (directory / name).unlink(missing_ok=True)

    def add(self, result: Result) -> None:
        """Write a result."""
        row = result.row(self._facts)
        self._append("results.jsonl", json.dumps(row))
        self._rows.append(row)
        # Anew, since what a case is compared with gives columns of its own.
        columns = list(dict.fromkeys(column for row in self._rows for column in row))
        with (self._directory / "results.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self._rows)

    def fail(self, message: str) -> None:
        """Write down what failed."""
        self._append("failures.txt", message)

    def _append(self, name: str, line: str) -> None:
        with (self._directory / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
