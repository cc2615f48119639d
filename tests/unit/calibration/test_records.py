"""The table of what was measured of a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.calibration.records import Records
from simlora.engine.bench import StepSize, Times
from simlora.serving.batch_shape import BatchShape


@pytest.mark.parametrize(("rounds", "counts"), [([4.0], 4.0), ([4.0, 1.0], 1.0), ([9.0, 1, 4], 4)])
def test_of_a_steps_rounds_the_middle_one_counts(
    tmp_path: Path, rounds: list[float], counts: float
) -> None:
    table = Records(tmp_path / "steps.parquet", {})
    size, shape = StepSize(decodes=2, context_tokens=8), BatchShape(decode_seqs=2)
    for seconds in rounds:
        table.add_step(size, "fit", shape, Times(seconds, seconds, seconds, 5))
    rows, _ = table.steps([size])
    assert rows.seconds.tolist() == [counts]
