"""The attacker's probes: what they guess, what they know, and how they come into the traffic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from simlora.errors import UserError
from simlora.planning.attack import (
    LEAST_GUESS_TOKENS,
    SETTLE_S,
    Probes,
    draw_probes,
    with_probes,
)
from simlora.planning.harm import without
from simlora.scenario.deployment import Deployment, expand
from simlora.serving.namespaces import common_prefix
from simlora.workload.blocks import BLOCK_ROWS, RequestBlock, Traffic
from simlora.workload.traffic import open_traffic
from tests.simulating import small_scenario

BLOCK = 64
COMMON = 4
COLUMNS = ("arrival_s", "tenant", "adapter", "prompt_tokens", "output_tokens", "session")


def chatting(**changes: Any) -> Deployment:
    """Nine firms, of which four are public, and an attacker who is silent."""
    return expand(
        small_scenario(
            tenants=[
                {"name": "firm", "count": 5, "rate_rps_each": 0.2},
                {"name": "demo", "count": 4, "rate_rps_each": 0.2, "prompt_class": "public"},
                {"name": "attacker", "rate_rps_each": 0},
            ],
            engine={"max_model_len": 4096},
            workload={
                "duration_s": 2000,
                "arrivals": {
                    "sessions": {
                        "think_time_s": 5,
                        "max_context_tokens": 6000,
                        "common_prefix_tokens": COMMON * BLOCK,
                        "shared_prefix_tokens": 200,
                    }
                },
                "prompt_tokens": {"lognormal": {"mean": 400, "sigma": 0.5}},
                "output_tokens": {"fixed": 40},
                **changes,
            },
        )
    )


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    return chatting()


@pytest.fixture(scope="module")
def traffic(deployment: Deployment) -> Traffic:
    return open_traffic(deployment)


@pytest.fixture(scope="module")
def probes(deployment: Deployment, traffic: Traffic) -> Probes:
    return draw_probes(deployment, traffic, 9, 1000)


def sent_by(traffic: Traffic, tenants: set[int]) -> Iterator[tuple[float, list[int]]]:
    for block in traffic.blocks():
        for row, hashes in enumerate(block.prefix_hashes or ()):
            if int(block.tenant[row]) in tenants:
                yield float(block.arrival_s[row]), hashes[: block.prompt_tokens[row] // BLOCK]


def test_a_right_guess_is_what_a_private_tenant_sent_a_while_before_and_a_wrong_one_is_new(
    traffic: Traffic, probes: Probes
) -> None:
    first_sent: dict[int, float] = {}
    for arrival_s, hashes in sent_by(traffic, set(range(5))):
        for block in hashes:
            first_sent.setdefault(block, arrival_s)
    everything = {block for _, hashes in sent_by(traffic, set(range(10))) for block in hashes}
    rows = zip(
        probes.arrival_s, probes.right, probes.known_tokens, probes.prefix_hashes, strict=True
    )
    for arrival_s, right, known_tokens, hashes in rows:
        known = int(known_tokens) // BLOCK
        guess, last = hashes[known:-1], hashes[-1]
        assert last not in everything
        assert len(guess) * BLOCK >= LEAST_GUESS_TOKENS
        if right:
            assert all(first_sent[block] <= arrival_s - SETTLE_S for block in guess)
        else:
            assert not everything & set(guess)


def test_the_known_beginning_is_public_or_was_sent_by_the_attacker_before(probes: Probes) -> None:
    """So that the attacker's own hits, if only it shares with itself, are alike for both kinds."""
    sent = set(common_prefix(COMMON))
    longer = 0
    for known_tokens, hashes in zip(probes.known_tokens, probes.prefix_hashes, strict=True):
        known = int(known_tokens) // BLOCK
        assert hashes[:COMMON] == common_prefix(COMMON)
        assert set(hashes[:known]) <= sent
        assert not set(hashes[known:]) & sent
        longer += known > COMMON
        sent.update(hashes)
    assert longer > len(probes) / 10


def test_probes_are_whole_blocks_that_fit_the_model(deployment: Deployment, probes: Probes) -> None:
    lengths = np.array([BLOCK * len(hashes) for hashes in probes.prefix_hashes])
    assert np.array_equal(probes.prompt_tokens, lengths)
    longest = deployment.scenario.engine.max_model_len
    assert longest is not None
    assert longest - BLOCK < lengths.max() + 1 <= longest


def test_right_and_wrong_guesses_are_equally_frequent_and_long_and_come_at_random(
    probes: Probes,
) -> None:
    right = probes.right
    assert len(probes) > 900
    assert stats.binomtest(int(right.sum()), len(right)).pvalue > 0.01
    for column in (probes.prompt_tokens, probes.known_tokens, probes.arrival_s):
        assert stats.ks_2samp(column[right], column[~right]).pvalue > 0.01
    gaps = np.diff(probes.arrival_s)
    assert stats.kstest(gaps / gaps.mean(), "expon").pvalue > 0.01


def test_probes_are_the_same_for_a_seed_and_others_for_another(
    deployment: Deployment, traffic: Traffic, probes: Probes
) -> None:
    again = draw_probes(deployment, traffic, 9, 1000)
    assert again.prefix_hashes == probes.prefix_hashes
    assert np.array_equal(again.arrival_s, probes.arrival_s)
    scenario = deployment.scenario.model_copy(update={"seed": 1})
    other = draw_probes(replace(deployment, scenario=scenario), traffic, 9, 1000)
    assert not np.array_equal(other.arrival_s[:9], probes.arrival_s[:9])


def test_the_traffic_with_probes_is_the_same_traffic_and_the_probes(
    deployment: Deployment, traffic: Traffic, probes: Probes
) -> None:
    both = with_probes(deployment, traffic, 9, probes)
    for _ in range(2):
        blocks = list(both.blocks())
        arrival_s = np.concatenate([block.arrival_s for block in blocks])
        assert np.all(np.diff(arrival_s) >= 0)
        rest = list(without(both, 9).blocks())
        for name in COLUMNS:
            assert np.array_equal(joined(rest, name), joined(list(traffic.blocks()), name)), name
        of_attacker = np.concatenate([block.tenant for block in blocks]) == 9
        assert np.array_equal(arrival_s[of_attacker], probes.arrival_s)
        hashes = [ids for block in blocks for ids in block.prefix_hashes or ()]
        sent = [hashes[row] for row in np.flatnonzero(of_attacker)]
        assert sent == probes.prefix_hashes


def test_blocks_of_merged_traffic_stay_within_their_size() -> None:
    deployment = chatting(duration_s=20_000)
    traffic = open_traffic(deployment)
    probes = draw_probes(deployment, traffic, 9, 9_000)
    sizes = [len(block) for block in with_probes(deployment, traffic, 9, probes).blocks()]
    assert max(sizes) == BLOCK_ROWS
    assert sum(sizes) == len(probes) + sum(len(block) for block in traffic.blocks())


def joined(blocks: list[RequestBlock], name: str) -> np.ndarray:
    return np.concatenate([getattr(block, name) for block in blocks])


def test_traffic_without_hashes_cannot_be_attacked(deployment: Deployment) -> None:
    plain = expand(small_scenario())
    with pytest.raises(UserError, match=r"workload: no private prompt has prefix hashes"):
        draw_probes(plain, open_traffic(plain), 3, 1000)


def test_short_prompts_are_worth_no_guess() -> None:
    short = chatting(prompt_tokens={"fixed": 10}, output_tokens={"fixed": 1})
    with pytest.raises(UserError, match=r"workload: .* worth only \d+ guesses, too few"):
        draw_probes(short, open_traffic(short), 9, 1000)


def test_public_prompts_are_no_secret(deployment: Deployment, traffic: Traffic) -> None:
    groups = [
        group.model_copy(update={"prompt_class": "public"}) for group in deployment.scenario.tenants
    ]
    scenario = deployment.scenario.model_copy(update={"tenants": groups})
    with pytest.raises(UserError, match="nobody but the attacker has private prompts"):
        draw_probes(replace(deployment, scenario=scenario), traffic, 9, 1000)
