"""Requests that draw their tokens: the same ones in any batch, and no word of theirs in others'."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from kernels.accounts import KV
from simlora.engine.engine import Engine
from simlora.engine.sampling import Sampling, sample
from tests.unit.engine.serving import ADAPTERS, ReplayedStep, Served, Service

COUNT = 10
HOWS = [
    Sampling(seed=1),
    None,
    Sampling(temperature=0.6, top_p=0.9, seed=2),
    Sampling(temperature=1.5, top_k=12, seed=1),
    None,
    Sampling(temperature=0.0, seed=9),
    Sampling(seed=1, top_p=0.5),
]
DRAWN = [bool(how and how.draws) for how in HOWS]


def requests(service: Service) -> list[Served]:
    adapters = [0, None, 2, None, 1, 3, 2]
    made = [service.add(4 + 3 * i, each, i) for i, each in enumerate(adapters)]
    for each, how in zip(made, HOWS, strict=True):
        each.sampling = how
    return made


def alone() -> list[list[int]]:
    service = Service(adapters=ADAPTERS)
    made = requests(service)
    for each in made:
        service.generate(each, COUNT)
    return [each.tokens for each in made]


@pytest.fixture(scope="module")
def said() -> list[list[int]]:
    return alone()


def test_a_seed_gives_the_same_tokens_again_and_another_seed_others(said: list[list[int]]) -> None:
    assert alone() == said
    for number, how in enumerate(HOWS):
        service = Service(adapters=ADAPTERS)
        other = requests(service)[number]
        other.sampling = how and replace(how, seed=how.seed + 1)
        service.generate(other, COUNT)
        assert (other.tokens != said[number]) == DRAWN[number]


def test_tokens_are_drawn_from_the_logits_of_their_step() -> None:
    service = Service(adapters=ADAPTERS)
    for each in requests(service):
        service.generate(each, COUNT)
        places = range(len(each.prompt), len(each.prompt) + COUNT)
        rows = [(each.sampling, place) for place in places]
        assert sample(torch.stack(each.logits), rows).tolist() == each.tokens


@pytest.mark.parametrize("seed", range(3))
def test_a_request_draws_the_same_whatever_else_is_in_the_batch(
    said: list[list[int]], seed: int
) -> None:
    service = Service(adapters=ADAPTERS)
    made = requests(service)
    rng = np.random.default_rng(seed)
    while unfinished := [each for each in made if len(each.tokens) < COUNT]:
        picked = [each for each in unfinished if rng.random() < 0.7] or unfinished
        rng.shuffle(picked)  # type: ignore[arg-type]
        chunks = [(each, int(rng.integers(1, each.waiting + 1))) for each in picked if each.waiting]
        service.step([each for each in picked if not each.waiting], chunks)
    assert [each.tokens for each in made] == said


def test_a_request_that_was_preempted_draws_on_as_it_would_have(said: list[list[int]]) -> None:
    """Its KV is dropped after four tokens, and computed again as a prompt."""
    service = Service(adapters=ADAPTERS)
    for number, each in enumerate(requests(service)):
        service.generate(each, 4)
        service.pool.release_blocks(each.blocks, KV)
        again = Served(each.prompt + each.tokens, each.adapter, sampling=each.sampling)
        service.generate(again, COUNT - 4)
        assert each.tokens + again.tokens == said[number]
        service.pool.release_blocks(again.blocks, KV)


def test_replayed_padded_steps_draw_the_same(padding: Service, said: list[list[int]]) -> None:
    made = requests(padding)
    padding.step([], [(each, each.waiting) for each in made])
    while unfinished := [each for each in made if len(each.tokens) < COUNT]:
        padding.step(unfinished)
        padding.step([each for each in unfinished[::2] if len(each.tokens) < COUNT] or made[:1])
    assert [each.tokens[:COUNT] for each in made] == said


def test_a_step_in_which_nobody_draws_is_replayed_to_its_tokens(padding: Service) -> None:
    """The steps of those that draw are others, of the same sizes."""
    made = requests(padding)
    padding.step([], [(each, each.waiting) for each in made])
    greedy = [each for each, drawn in zip(made, DRAWN, strict=True) if not drawn]
    padding.step(greedy)
    assert list(padding.engine._graphs) == [(4, True, False)]
    padding.step(made[:3])
    assert list(padding.engine._graphs) == [(4, True, False), (4, True, True)]
    padding.step(greedy)
    padding.step(made[2:5])
    assert ReplayedStep.made == 2


def test_logits_of_all_replayed_steps_lie_in_one_place(padding: Service) -> None:
    made = requests(padding)
    padding.step([], [(each, each.waiting) for each in made])
    places = set()
    for batch in (made[:1], made[:3], made):
        padding.step(batch)
        engine: Engine = padding.engine
        assert engine._replayed_logits is not None
        assert len(engine._replayed_logits) == engine.limits.max_num_seqs
        places.add(engine._replayed_logits.data_ptr())
    assert len(places) == 1
