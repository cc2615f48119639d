"""The timeline: bounded, evenly spaced, and counting what happened in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simlora.results.recorder import Recorder
from tests.unit.results.recorded import completed, deployment, facts


@pytest.mark.parametrize("span_s", [100.0, 10_000.0])
def test_instants_stay_few_and_evenly_spaced(tmp_path: Path, span_s: float) -> None:
    recorder = Recorder(deployment(), tmp_path, warmup_s=0.0)
    time_s = 0.0
    while time_s < span_s:
        for replica in range(2):
            recorder.sample(time_s, replica, int(time_s), 2, 3, 4, 5, 6, 7)
        time_s += recorder.sample_interval_s
    timeline = recorder.close(facts(span_s)).timeline
    instants = timeline["time_s"].unique()
    assert 500 <= len(instants) <= 1000
    assert len(timeline) == 2 * len(instants)
    assert np.allclose(np.diff(instants), recorder.sample_interval_s)
    assert (timeline["running"] == timeline["time_s"].astype(int)).all()
    assert instants[-1] > 0.99 * span_s


def test_counts_between_instants_add_up(tmp_path: Path) -> None:
    of = deployment()
    recorder = Recorder(of, tmp_path, warmup_s=0.0)
    span_s = 3000.0
    time_s = 0.0
    while time_s <= span_s:
        for replica in range(2):
            recorder.sample(time_s, replica, 0, 0, 0, 0, 0, 0, 0)
        time_s += recorder.sample_interval_s
    for index in range(1000):
        source = 1 if index % 4 else 3
        recorder.pending.append(completed(of, index, 2.9 * index, source=source))
        if index % 100 == 0:
            recorder.flush()
    timeline = recorder.close(facts(span_s)).timeline
    assert timeline["arrived"].sum() == timeline["completed"].sum() == 1000
    assert timeline["output_tokens"].sum() == 11_000
    assert timeline["adapter_lookups"].sum() == 1000
    assert timeline["adapter_hits"].sum() == 750
    early = timeline[timeline["time_s"] <= 1450]
    assert early["arrived"].sum() == pytest.approx(500, abs=1)
    assert set(timeline.groupby("replica")["arrived"].sum()) == {500}


@pytest.mark.parametrize("span_s", [3.0, 1000.0])
def test_what_comes_after_the_last_sample_is_in_the_last_row(tmp_path: Path, span_s: float) -> None:
    of = deployment()
    recorder = Recorder(of, tmp_path, warmup_s=0.0)
    for time_s in (0.0, span_s / 2):
        for replica in range(2):
            recorder.sample(time_s, replica, 0, 0, 0, 0, 0, 0, 0)
    recorder.pending += [completed(of, index, span_s - 2.0) for index in range(10)]
    timeline = recorder.close(facts(span_s)).timeline
    assert timeline["arrived"].sum() == timeline["completed"].sum() == 10
    assert timeline["arrived"].tolist()[-2:] == [5, 5]
    assert timeline["output_tokens"].sum() == 110
