"""A cache in the fleet's first pool sees the requests that may come there, and no others."""

from __future__ import annotations

import pytest

from simlora.planning.adapter_stream import stream_of
from simlora.scenario.deployment import expand
from tests.placing import Entries, mixed_scenario

GROUPS: Entries = [{"name": "a", "count": 4}, {"name": "b", "count": 4, "model": "wide"}]


@pytest.mark.parametrize(
    ("fleet", "seen"), [([{}, {"model": "wide"}], range(4)), ([{"model": "wide"}, {}], range(4, 8))]
)
def test_only_adapters_of_its_own_model_are_in_the_first_pools_stream(
    fleet: Entries, seen: range
) -> None:
    workload = {"rate_rps": 20.0, "duration_s": 20.0, "popularity": "uniform"}
    stream = stream_of(expand(mixed_scenario(fleet, GROUPS, workload=workload)))
    assert set(stream.adapter.tolist()) == set(seen)
    assert stream.place_bytes == stream.nbytes[seen.start]
