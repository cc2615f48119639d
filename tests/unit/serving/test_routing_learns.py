"""A router that learns is told of what its replicas finished."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from simlora.scenario.deployment import expand
from simlora.workload import open_traffic
from tests.simulating import run, small_scenario


@pytest.mark.parametrize("fast_first", [True, False])
def test_the_slow_replica_of_a_mixed_fleet_gets_few_requests(fast_first: bool) -> None:
    gpus: dict[str, Any] = {
        "fast": {"base": "a10g", "memory_gib": 64.0},
        "slow": {"base": "a10g", "memory_gib": 64.0, "hbm_gb_per_s": 6.0},
    }
    fleet = [{"gpu": "fast"}, {"gpu": "slow"}]
    of = small_scenario(
        fleet=fleet if fast_first else fleet[::-1],
        catalog={"gpus": gpus},
        workload={"rate_rps": 20.0, "duration_s": 60.0, "output_tokens": {"fixed": 20}},
        gateway={"routing": "latency_aware"},
    )
    finished = run(of, open_traffic(expand(of)))
    share = Counter(request.replica for request in finished.requests)
    slow = share[1 if fast_first else 0] / len(finished.requests)
    assert 0 < slow < 0.15  # it is tried again now and then
