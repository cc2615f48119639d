"""Decode steps as CUDA graphs say and write what the same steps do launch by launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from simlora.engine.graphs import graph_sizes
from simlora.engine.sampling import Sampling
from tests.unit.engine.serving import ADAPTERS, CPU, Served, Service, assert_close

# Needs what `conftest.py` says, and a GPU.
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")

LARGEST = 20
SIZES = graph_sizes(LARGEST)
ADAPTED = pytest.mark.parametrize("adapted", [False, True], ids=["base", "adapters"])


def decoding(service: Service, count: int, adapted: bool, seed: int = 0) -> list[Served]:
    """Sequences whose prompts are computed; the first has an adapter and some others have none."""
    turns = [2, 0, None, 1, 3] if adapted else [None]
    made = [service.add(3 + i % 7, turns[i % len(turns)], seed * LARGEST + i) for i in range(count)]
    service.step([], [(each, each.waiting) for each in made])
    return made


@dataclass
class Step:
    """A decode step that can be computed again and again, from the same pages."""

    service: Service
    sequences: Sequence[Served]

    def __post_init__(self) -> None:
        self.parts = [self.service.part(each, [each.tokens[-1]]) for each in self.sequences]
        self.service.pool.flush_tables()
        written = [
            self.service.rows_of(each, range(each.computed, each.computed + 1))
            for each in self.sequences
        ]
        self.rows = torch.tensor(sorted(set[int]().union(*written)))

    def run(self) -> tuple[list[int], Tensor, Tensor]:
        """Tokens, logits, and K and V: computed now, for what a run before it left is gone."""
        pages, said = self.service.pool.pages, self.service.model.said
        rows = self.rows.to(pages.device)
        pages[rows] = torch.nan
        said.fill_(torch.nan)
        tokens = self.service.engine.run(self.parts, [])
        return tokens.tolist(), said[: len(self.parts)].to(CPU, copy=True), pages[rows].to(CPU)

    def eager(self) -> tuple[list[int], Tensor, Tensor]:
        """The same without a graph and without padding."""
        engine = self.service.engine
        sizes, engine._graph_sizes = engine._graph_sizes, []
        try:
            return self.run()
        finally:
            engine._graph_sizes = sizes


def assert_same(
    actual: tuple[list[int], Tensor, Tensor], expected: tuple[list[int], Tensor, Tensor]
) -> None:
    assert actual[0] == expected[0]
    for one, other in zip(actual[1:], expected[1:], strict=True):
        assert_close(one, other.double())


@ADAPTED
@pytest.mark.parametrize("size", SIZES)
def test_captured_steps_equal_eager_ones(size: int, adapted: bool) -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=LARGEST)
    sequences = decoding(service, size, adapted)
    least = max((each for each in SIZES if each < size), default=0) + 1
    for batch in (size, least):  # as captured, and replayed with all the padding that there can be
        step = Step(service, sequences[:batch])
        expected = step.eager()
        for _ in range(3):
            assert_same(step.run(), expected)
    assert list(service.engine._graphs) == [(size, adapted, False)]
    for _ in range(3):
        service.step(sequences)
    service.check(*sequences)


@ADAPTED
def test_a_step_captured_between_replays_of_another_leaves_it_right(adapted: bool) -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=LARGEST)
    a = Step(service, decoding(service, 4, adapted))
    b = Step(service, decoding(service, 8, not adapted, seed=1))
    of_a, of_b = a.eager(), b.eager()
    assert_same(a.run(), of_a)
    assert_same(a.run(), of_a)
    assert_same(b.run(), of_b)  # captured here, in the memory that a's graph has
    assert list(service.engine._graphs) == [(4, adapted, False), (8, not adapted, False)]
    for _ in range(2):
        assert_same(a.run(), of_a)
        assert_same(b.run(), of_b)


def test_all_graphs_share_memory_in_any_order() -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=LARGEST)
    base, adapted = (
        decoding(service, LARGEST // 2, each, seed) for seed, each in enumerate([False, True])
    )
    mixed = [each for pair in zip(adapted, base, strict=True) for each in pair]
    steps = [Step(service, of[:size]) for of in (base, mixed) for size in SIZES if size <= len(of)]
    expected = [step.eager() for step in steps]
    rng = np.random.default_rng(0)
    for _ in range(4):  # captured in the first round
        for number in rng.permutation(len(steps)):
            assert_same(steps[number].run(), expected[number])
    assert len(service.engine._graphs) == len(steps)


def test_a_graph_reads_the_adapter_that_its_slot_holds_now() -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=LARGEST)
    for slot in service.slots:
        service.pool.unload(slot)
    taken = set()
    for adapter in (2, 1, 3):
        service.slots[adapter] = service.pool.load(service.packed[adapter])
        taken.add(service.slots[adapter])
        sequence = service.add(5, adapter, seed=adapter)
        service.generate(sequence, 6)
        service.check(sequence)
        service.pool.unload(service.slots[adapter])
    assert len(taken) == 1
    assert list(service.engine._graphs) == [(1, True, False)]


def test_captured_steps_draw_what_eager_ones_draw() -> None:
    service = Service(adapters=ADAPTERS, max_num_seqs=LARGEST)
    sequences = decoding(service, 12, adapted=True)
    for number, each in enumerate(sequences):
        hows = (None, Sampling(seed=number), Sampling(seed=number, temperature=0.8, top_p=0.9))
        each.sampling = hows[number % 3]
    for batch in (12, 5, 1, 8):
        step = Step(service, sequences[:batch])
        expected = step.eager()
        for _ in range(3):
            assert_same(step.run(), expected)
        service.step(sequences)
