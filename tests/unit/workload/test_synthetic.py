from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.workload import BLOCK_ROWS, open_traffic
from tests.unit.workload.deploying import COLUMNS, deploy, requests_of


def test_adapters_share_the_load_by_zipf_in_a_shuffled_order() -> None:
    deployment = deploy(
        tenants=[{"name": "pro", "count": 20}, {"name": "free", "count": 80}],
        rate_rps=10.0,
        max_requests=400_000,
        popularity={"zipf": 1.0},
    )
    counts = np.bincount(requests_of(deployment).adapter, minlength=100)
    expected = 1 / np.arange(1, 101) / np.sum(1 / np.arange(1, 101))
    assert np.sort(counts)[::-1] / 400_000 == pytest.approx(expected, rel=0.1)
    ranks_of_pro = np.flatnonzero(np.isin(np.argsort(-counts), np.arange(20)))
    assert 20 < ranks_of_pro.mean() < 80  # groups mix


def test_uniform_popularity_gives_all_alike() -> None:
    deployment = deploy(rate_rps=10.0, max_requests=100_000, popularity="uniform")
    counts = np.bincount(requests_of(deployment).tenant, minlength=50)
    assert counts == pytest.approx(2000, rel=0.12)


def test_rates_of_groups_add_up_and_base_model_tenants_send_too() -> None:
    deployment = deploy(
        tenants=[
            {"name": "a", "count": 4, "adapters": 3, "rate_rps_each": 2.0},
            {"name": "b", "count": 10, "adapters": 0, "rate_rps_each": 0.5},
            {"name": "silent", "count": 2, "rate_rps_each": 0.0},
        ],
        duration_s=5000,
    )
    block = requests_of(deployment)
    assert len(block) / 5000 == pytest.approx(13.0, rel=0.02)
    counts = np.bincount(block.tenant, minlength=16) / 5000
    assert counts[:4] == pytest.approx(2.0, rel=0.06)
    assert counts[4:14] == pytest.approx(0.5, rel=0.12)
    assert not counts[14:].any()
    assert np.all(block.adapter[block.tenant >= 4] == -1)
    of_first = np.bincount(block.adapter[block.tenant == 0], minlength=12)
    assert of_first[:3] / 5000 == pytest.approx(2 / 3, rel=0.1)
    assert of_first[3:].sum() == 0


def test_a_burst_is_on_top_and_of_one_tenant() -> None:
    burst = {"tenant": "tenant-0007", "start_s": 20, "duration_s": 5, "requests": 4000}
    calm = requests_of(deploy(rate_rps=50.0, duration_s=60, arrivals="poisson"))
    busy = requests_of(deploy(rate_rps=50.0, duration_s=60, arrivals={"bursts": [burst]}))
    assert len(busy) == len(calm) + 4000
    assert np.all(np.diff(busy.arrival_s) >= 0)
    inside = (busy.arrival_s >= 20) & (busy.arrival_s < 25)
    assert np.count_nonzero(busy.tenant[inside] == 7) >= 4000
    # The rest is the very same traffic.
    assert np.isin(calm.arrival_s, busy.arrival_s).all()


def test_a_burst_that_outlasts_the_run_is_cut_with_it() -> None:
    burst = {"tenant": "tenant-0007", "start_s": 0, "duration_s": 100, "requests": 10_000}
    block = requests_of(deploy(rate_rps=0.001, duration_s=50, arrivals={"bursts": [burst]}))
    assert len(block) == pytest.approx(5000, rel=0.1)
    assert block.arrival_s[-1] < 50


def test_a_burst_larger_than_memory_is_refused() -> None:
    burst = {"tenant": "tenant-0007", "start_s": 0, "duration_s": 100, "requests": 10**12}
    with pytest.raises(UserError, match="1,000,000,000,000 requests in bursts"):
        open_traffic(deploy(rate_rps=1.0, arrivals={"bursts": [burst]}))


@pytest.mark.parametrize("arrivals", ["poisson", "sessions"])
def test_the_end_is_the_duration_or_the_count_whichever_is_first(arrivals: Any) -> None:
    kind = {"rate_rps": 10.0, "arrivals": arrivals}
    timed = requests_of(deploy(duration_s=100, **kind))
    assert timed.arrival_s[-1] < 100
    counted = requests_of(deploy(max_requests=300, **kind))
    assert len(counted) == 300
    both = requests_of(deploy(max_requests=300, duration_s=100, **kind))
    assert np.array_equal(both.arrival_s, counted.arrival_s)
    assert np.array_equal(timed.arrival_s[:300], counted.arrival_s)
    default = open_traffic(deploy(**kind))
    assert default.duration_s == 600
    assert open_traffic(deploy(max_requests=300, **kind)).total_requests == 300


def test_blocks_are_in_order_and_of_bounded_size() -> None:
    blocks = list(open_traffic(deploy(rate_rps=1000.0, max_requests=100_000)).blocks())
    assert max(map(len, blocks)) <= BLOCK_ROWS
    ends = [(block.arrival_s[0], block.arrival_s[-1]) for block in blocks]
    assert all(last <= first for (_, last), (first, _) in pairwise(ends))


def test_changing_one_part_leaves_the_others_as_they_were() -> None:
    kind: dict[str, Any] = {"rate_rps": 10.0, "max_requests": 1000}
    plain = requests_of(deploy(**kind))
    bursty = requests_of(deploy(**kind, arrivals={"gamma": {"cv": 3}}))
    longer = requests_of(deploy(**kind, output_tokens={"lognormal": {"mean": 900, "sigma": 1}}))
    assert np.array_equal(plain.adapter, bursty.adapter)
    assert np.array_equal(plain.prompt_tokens, bursty.prompt_tokens)
    assert np.array_equal(plain.arrival_s, longer.arrival_s)
    assert np.array_equal(plain.prompt_tokens, longer.prompt_tokens)
    assert not np.array_equal(plain.output_tokens, longer.output_tokens)


@pytest.mark.parametrize("arrivals", ["poisson", "mmpp", "diurnal", "sessions"])
def test_a_stream_can_be_opened_again_and_another_seed_differs(arrivals: str) -> None:
    kind: dict[str, Any] = {"rate_rps": 10.0, "max_requests": 1000, "arrivals": arrivals}
    deployment = deploy(**kind)
    first, second, other = (
        requests_of(d) for d in (deployment, deployment, deploy(seed=1, **kind))
    )
    for name in COLUMNS:
        assert np.array_equal(getattr(first, name), getattr(second, name))
    assert first.prefix_hashes == second.prefix_hashes
    assert not np.array_equal(first.arrival_s, other.arrival_s)
    assert not np.array_equal(first.adapter, other.adapter)


DIGEST = """
import hashlib
from tests.unit.workload.deploying import COLUMNS, deploy, requests_of
block = requests_of(deploy(rate_rps=10.0, max_requests=2000, arrivals="sessions"))
digest = hashlib.sha256(repr(block.prefix_hashes).encode())
for name in COLUMNS:
    digest.update(getattr(block, name).tobytes())
print(digest.hexdigest())
"""


def test_traffic_does_not_depend_on_the_hash_seed() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "12345")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 2 * hashlib.sha256().digest_size
