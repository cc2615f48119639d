"""Synthetic measurements: steps of known figures, as tables and as arrays."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simlora.calibration.design import Rows, Shapes, rows_of_steps
from simlora.calibration.tables import Selection, Table, read_tables
from simlora.timing.parameters import StepParameters


def shapes(count: int, seed: int = 0, slots: Sequence[float] = (8, 32, 128, 300)) -> Shapes:
    """Steps of all kinds: decode and prefill, with and without adapters, of several ranks."""
    rng = np.random.default_rng(seed)
    prefill = np.where(rng.random(count) < 0.5, rng.integers(1, 2048, count), 0)
    decode = np.where(prefill == 0, rng.integers(1, 513, count), rng.integers(0, 513, count))
    tokens = decode + prefill
    has_lora = rng.random(count) < 0.7
    of_slots = rng.choice(slots, count)
    most = np.minimum(tokens, of_slots)
    distinct = np.where(has_lora, np.minimum(rng.integers(1, 120, count), most), 0)
    lora_share = rng.choice([0.3, 0.6, 1.0], count)
    lora_tokens = np.where(has_lora, np.maximum(distinct, (tokens * lora_share).astype(int)), 0)
    parameters = rng.choice([8, 16, 32, 64], count) * 2.6e6

    def floats(values: Any) -> Any:
        return np.asarray(values, dtype=np.float64)

    return Shapes(
        tokens=floats(tokens),
        sequences=floats(decode + (prefill > 0) * rng.integers(1, 9, count)),
        decode_attended_tokens=floats(decode * rng.integers(20, 3000, count)),
        prefill_attended_tokens=floats(prefill * rng.integers(1, 2000, count)),
        passed_over=floats(np.where(rng.random(count) < 0.5, rng.integers(0, 9000, count), 0)),
        lora_tokens=floats(lora_tokens),
        lora_token_parameters=floats(lora_tokens * parameters),
        distinct_adapters=floats(distinct),
        distinct_adapter_parameters=floats(distinct * parameters),
        slots=floats(of_slots),
    )


def measured(sizes: Shapes, truth: StepParameters, noise: float = 0.0, seed: int = 1) -> Rows:
    """The steps as measured with a relative error of `noise`."""
    count = len(sizes.tokens)
    exact_s = rows_of_steps(sizes, np.ones(count), np.ones(count)).predict(truth)
    error = 1 + noise * np.random.default_rng(seed).standard_normal(count)
    return rows_of_steps(sizes, exact_s * error, np.ones(count))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """The rows as a CSV file; returns its path."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_text(tmp_path: Path, text: str, selection: Selection | None = None) -> Table:
    """A table from the text of a file `m.csv`."""
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    return read_tables([path], selection or Selection())[0]
