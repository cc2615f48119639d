"""What a calibration says of itself: held-out errors, ranges, and what to doubt."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from simlora.calibration.design import read_shapes
from simlora.calibration.formats import LOADS
from simlora.calibration.judge import loads_left_out, summarize
from simlora.calibration.tables import Floats, Table
from simlora.calibration.verdict import (
    distrust,
    step_ranges,
    unit_warnings,
    unmeasured,
)
from simlora.scenario.catalog import load_model
from simlora.scenario.schema import ModelChoice
from simlora.timing.profile import Feature
from tests.unit.calibration.measuring import read_text

MODEL = load_model(ModelChoice(name="tiny-llama"))
HOST = 24e9


def loads(seconds: Floats, sizes: Floats) -> Table:
    columns = {"load_s": seconds, "bytes": sizes}
    return Table(Path("loads.csv"), LOADS, columns, list(range(len(sizes))))


def test_slots_and_ranks_are_ranges_of_steps_with_adapters(tmp_path: Path) -> None:
    text = (
        "step_s,decode_seqs,distinct_adapters,slots,rank\n0.1,8,0,0,0\n0.1,8,4,8,16\n.1,9,1,32,8\n"
    )
    table = read_text(tmp_path, text)
    ranges = step_ranges(read_shapes(table, MODEL, "all-linear"), table)
    assert ranges["slots"] == (8, 32) and ranges["max_rank"] == (8, 16)
    assert ranges["distinct_adapters"] == (0, 4)
    table = read_text(tmp_path, "step_s,decode_seqs,slots,rank\n0.1,8,0,0\n0.2,9,4,8\n")
    ranges = step_ranges(read_shapes(table, MODEL, "all-linear"), table)
    assert "slots" not in ranges and "max_rank" not in ranges


def test_what_has_no_range_is_named() -> None:
    features: tuple[Feature, ...] = get_args(Feature)
    everything = dict.fromkeys(features, (0.0, 4.0))
    assert unmeasured(everything) == []
    (told,) = unmeasured({name: everything[name] for name in features if name != "slots"})
    assert told.startswith("the measurements do not tell slots, so a run that goes beyond what was")
    known: tuple[Feature, ...] = ("running", "tokens", "attended_tokens", "distinct_adapters")
    (told,) = unmeasured(dict.fromkeys(known, (0.0, 4.0)))
    assert told.startswith("the measurements do not tell slots, max_rank and passed_over, so ")
    without: dict[Feature, tuple[float, float]] = {"distinct_adapters": (0.0, 0.0)}
    (told,) = unmeasured(without)  # a run with any adapter is told
    assert "slots" not in told and "max_rank" not in told


@pytest.mark.parametrize("wrong", [[3], [2, 5, 11], list(range(12, 20))])
@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_lines_in_another_unit_are_named(wrong: list[int], factor: float) -> None:
    """Squares of relative errors favour the short times, so long ones look a thousand times too
    long whichever of the two were mistaken; the fewer are named."""
    ratio = np.full(20, 1.1)
    if factor > 1:
        ratio[wrong] /= factor
    else:
        ratio = ratio * factor
        ratio[wrong] /= factor
    told = unit_warnings(ratio - 1, [f"m.csv:{row + 2}" for row in range(20)])
    named = ", ".join(f"m.csv:{row + 2}" for row in wrong[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    size = "1,000 times" if factor > 1 else "a thousandth"
    expected = f"about {size} as long as the other measurements let expect: are units mixed up?"
    assert told == [f"{named}{more}: {expected}"]


def test_errors_of_any_other_size_are_no_matter_of_units() -> None:
    errors = np.array([-0.99, 0.5, 0.0, -1.0, 30.0])
    assert unit_warnings(errors, [f"m.csv:{row}" for row in range(5)]) == []


@pytest.mark.parametrize(("size", "warned"), [(0.2, False), (0.4, True)])
def test_a_fit_that_misses_half_of_the_measurements_is_not_to_be_trusted(
    size: float, warned: bool
) -> None:
    poor, good = summarize(np.full(9, size)), summarize(np.full(9, 0.01))
    assert poor is not None and good is not None
    assert bool(distrust({"step": poor}, {"step": good})) is warned
    assert bool(distrust({}, {"time_per_token": poor})) is warned
    assert not distrust({"step": good, "ttft": poor}, {"step": poor})  # what was held out decides
    if warned:
        (told,) = distrust({"step": poor}, {})
        assert "half of the measurements are missed by 40% or more" in told


def test_loads_are_judged_by_sizes_that_were_left_out() -> None:
    sizes = np.array([1e6, 1e6, 4e6, 16e6, 64e6])
    exact = 2e-3 + sizes / 10e9
    left_out = loads_left_out([loads(exact, sizes)], MODEL, "all-linear", HOST)
    assert left_out is not None and np.abs(left_out).max() < 1e-9
    odd = exact * np.array([1, 1, 1, 1, 1.5])
    left_out = loads_left_out([loads(odd, sizes)], MODEL, "all-linear", HOST)
    assert left_out is not None
    assert left_out[4] == pytest.approx(1 / 1.5 - 1, abs=1e-6)
    for few in (sizes[:3], sizes[[0, 0, 0, 2, 2]]):
        assert loads_left_out([loads(few / 10e9, few)], MODEL, "all-linear", HOST) is None
