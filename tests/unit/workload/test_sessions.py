from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from simlora.errors import UserError
from simlora.serving.namespaces import common_prefix
from simlora.workload import RequestBlock, open_traffic
from tests.unit.workload.deploying import deploy, requests_of


def sessions(rate_rps: float = 20.0, duration_s: float = 2000, **shape: Any) -> Any:
    return deploy(
        rate_rps=rate_rps,
        duration_s=duration_s,
        arrivals={"sessions": shape},
        prompt_tokens={"lognormal": {"mean": 100, "sigma": 0.8, "max": 2000}},
        output_tokens={"lognormal": {"mean": 150, "sigma": 0.8, "max": 2000}},
    )


def turns(block: RequestBlock) -> list[list[int]]:
    """Rows of each session, in order."""
    rows: dict[int, list[int]] = {}
    for row, session in enumerate(block.session.tolist()):
        rows.setdefault(session, []).append(row)
    return list(rows.values())


def test_the_rate_counts_turns_from_the_first_second() -> None:
    block = requests_of(sessions(turns_mean=5, think_time_s=40))
    assert np.all(np.diff(block.arrival_s) >= 0)
    by_time = np.bincount((block.arrival_s // 500).astype(int), minlength=4) / 500
    assert by_time == pytest.approx(20.0, rel=0.06)


def test_sessions_have_the_asked_turns_and_think_times() -> None:
    block = requests_of(sessions(duration_s=6000, turns_mean=4, think_time_s=10))
    times = block.arrival_s
    whole = [rows for rows in turns(block) if times[rows[0]] > 300 and times[rows[-1]] < 5700]
    assert np.mean([len(rows) for rows in whole]) == pytest.approx(4, rel=0.05)
    thinking = [times[b] - times[a] for rows in whole for a, b in pairwise(rows)]
    assert np.mean(thinking) == pytest.approx(10, rel=0.05)
    assert np.std(thinking) == pytest.approx(10, rel=0.07)


def test_a_session_stays_with_its_tenant() -> None:
    block = requests_of(sessions(duration_s=200))
    for rows in turns(block):
        assert len(set(block.tenant[rows].tolist())) == 1
        assert len(set(block.adapter[rows].tolist())) == 1


def test_a_prompt_is_the_conversation_so_far_and_its_hashes_say_so() -> None:
    block = requests_of(sessions(duration_s=500, max_context_tokens=3000, shared_prefix_tokens=200))
    assert block.prefix_hashes is not None
    total = block.prompt_tokens + block.output_tokens
    assert total.max() <= 3000
    assert block.prompt_tokens.min() > 200
    grown = restarted = 0
    for rows in turns(block):
        for before, after in pairwise(rows):
            old, new = block.prefix_hashes[before], block.prefix_hashes[after]
            if block.prompt_tokens[after] > total[before]:
                grown += 1
                assert new[: len(old)] == old  # all of the turn before, answer included
            else:
                restarted += 1
                assert new[:3] == old[:3]
                assert not set(new[3:]) & set(old[3:])
    assert grown > 10 * restarted > 0


def test_hashes_cover_whole_blocks_and_belong_to_one_tenant() -> None:
    deployment = sessions(duration_s=300, shared_prefix_tokens=200)
    assert open_traffic(deployment).prefix_block_tokens == 64
    block = requests_of(deployment)
    assert block.prefix_hashes is not None
    owner: dict[int, int] = {}
    for row, ids in enumerate(block.prefix_hashes):
        assert len(ids) == (block.prompt_tokens[row] + block.output_tokens[row]) // 64
        assert len(set(ids)) == len(ids)
        for prefix in ids:
            assert owner.setdefault(prefix, int(block.tenant[row])) == block.tenant[row]
    heads = {
        (int(block.tenant[row]), tuple(ids[:3])) for row, ids in enumerate(block.prefix_hashes)
    }
    assert len(heads) == len(set(block.tenant.tolist()))  # 200 tokens: three shared blocks


def test_the_asked_block_size_is_used() -> None:
    deployment = deploy(rate_rps=5.0, duration_s=50, arrivals="sessions", prefix_block_tokens=128)
    traffic = open_traffic(deployment)
    assert traffic.prefix_block_tokens == 128
    for block in traffic.blocks():
        assert block.prefix_hashes is not None
        lengths = [len(ids) for ids in block.prefix_hashes]
        assert lengths == ((block.prompt_tokens + block.output_tokens) // 128).tolist()


def test_a_message_larger_than_the_context_is_cut_to_it() -> None:
    block = requests_of(sessions(duration_s=100, max_context_tokens=64, shared_prefix_tokens=10))
    assert (block.prompt_tokens + block.output_tokens).max() <= 64
    assert block.prompt_tokens.min() >= 11
    assert block.output_tokens.min() >= 1


def test_a_single_turn_is_a_session_too() -> None:
    block = requests_of(sessions(duration_s=500, turns_mean=1))
    assert len(np.unique(block.session)) == len(block)
    assert len(block) == pytest.approx(10_000, rel=0.05)


def test_a_shared_prefix_that_fills_the_context_is_refused() -> None:
    with pytest.raises(UserError, match="leaves no room"):
        open_traffic(sessions(max_context_tokens=100, shared_prefix_tokens=99))


def test_very_long_conversations_end_soon_and_too_many_are_refused() -> None:
    block = requests_of(sessions(rate_rps=5.0, duration_s=60.0, turns_mean=1000.0))
    assert len(block) == pytest.approx(300, rel=0.3)
    with pytest.raises(UserError, match="turns are still to come at any time"):
        open_traffic(sessions(rate_rps=1000.0, turns_mean=1000.0))


def test_every_prompt_begins_with_the_platforms_and_then_the_tenants_prefix() -> None:
    block = requests_of(
        sessions(duration_s=300, common_prefix_tokens=150, shared_prefix_tokens=120)
    )
    assert block.prefix_hashes is not None
    assert block.prompt_tokens.min() > 270
    heads: dict[int, set[tuple[int, ...]]] = {}
    for row, ids in enumerate(block.prefix_hashes):
        assert ids[:2] == common_prefix(2)  # of 64 tokens; the third block is partly the tenant's
        assert len(set(ids)) == len(ids)
        heads.setdefault(int(block.tenant[row]), set()).add(tuple(ids[2:4]))
    assert all(len(own) == 1 for own in heads.values())
    of_tenants = [id_ for own in heads.values() for head in own for id_ in head]
    assert len(set(of_tenants)) == 2 * len(heads)
    assert not set(of_tenants) & set(common_prefix(2))


def test_without_a_common_prefix_the_hashes_are_what_they_were() -> None:
    """A trace that was generated earlier stays the same."""
    block = requests_of(sessions(duration_s=50, shared_prefix_tokens=200))
    assert block.prefix_hashes is not None
    for row, ids in enumerate(block.prefix_hashes):
        assert ids[:3] == [-1 - 3 * int(block.tenant[row]) - position for position in range(3)]


def test_two_prefixes_that_fill_the_context_are_refused() -> None:
    with pytest.raises(
        UserError, match="common_prefix_tokens is 50 and shared_prefix_tokens is 49"
    ):
        open_traffic(
            sessions(max_context_tokens=100, common_prefix_tokens=50, shared_prefix_tokens=49)
        )
