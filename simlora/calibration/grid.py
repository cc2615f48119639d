"""Which steps to measure on a device, so that each figure of the timing form shows by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from simlora.engine.bench import StepSize

SEED = 0


@dataclass(frozen=True, slots=True)
class Extent:
    """How far a grid goes. `kv_tokens`: at most so many are held by the sequences of a step."""

    decodes: tuple[int, ...]
    contexts: tuple[int, ...]
    chunks: tuple[int, ...]
    chunk_starts: tuple[int, ...]
    adapters: tuple[int, ...]
    ranks: tuple[int, ...]
    kv_tokens: int
    held_out: int


GPU = Extent(
    decodes=(1, 4, 16, 32, 64, 128, 256),
    contexts=(128, 1024, 4096),
    chunks=(128, 512, 2048, 8192),
    chunk_starts=(0, 4096),
    adapters=(1, 8, 32, 64),
    ranks=(8, 16, 64),
    kv_tokens=131_072,
    held_out=24,
)
CPU = Extent(
    decodes=(1, 4, 16, 32),
    contexts=(32, 256, 768),
    chunks=(32, 128, 512),
    chunk_starts=(0, 256),
    adapters=(1, 4, 16),
    ranks=(8, 32),
    kv_tokens=16_384,
    held_out=20,
)


def steps_to_fit(extent: Extent) -> list[StepSize]:
    """Decodes by batch and context, prefill by chunk and what precedes it, then both with adapters
    by number and rank, and batches of both kinds, in a random order: whenever measuring ends, what
    there is covers all of it."""
    steps = list(dict.fromkeys(_grid(extent)))
    order = np.random.default_rng(SEED).permutation(len(steps))
    return [steps[index] for index in order]


def _grid(extent: Extent) -> Iterator[StepSize]:
    from simlora.engine.bench import StepSize

    middle = extent.contexts[len(extent.contexts) // 2]
    for decodes, context in product(extent.decodes, extent.contexts):
        if decodes * context <= extent.kv_tokens:
            yield StepSize(decodes, context)
    for chunk, start in product(extent.chunks, extent.chunk_starts):
        yield StepSize(0, 0, 1, chunk, start)
    for decodes, adapters, rank in product(extent.decodes, extent.adapters, extent.ranks):
        if adapters <= decodes and decodes * middle <= extent.kv_tokens:
            yield StepSize(decodes, middle, ranks=(rank,) * adapters)
    for chunk, rank in product(extent.chunks, extent.ranks):
        yield StepSize(0, 0, 1, chunk, ranks=(rank,))
    several = extent.adapters[1]
    for rank in extent.ranks:
        yield StepSize(0, 0, several, extent.chunks[1], ranks=(rank,) * several)
    for decodes, chunk in product(extent.decodes[1:4], extent.chunks[:3]):
        yield StepSize(decodes, middle, 1, chunk)
        yield StepSize(decodes, middle, 1, chunk, ranks=(extent.ranks[0],) * 2)


def steps_to_judge(extent: Extent) -> list[StepSize]:
    """Steps drawn at random within the extent, of mixed ranks, none of which is in the grid."""
    from simlora.engine.bench import StepSize

    random = np.random.default_rng(SEED + 1)
    fitted = set(steps_to_fit(extent))
    steps: list[StepSize] = []
    while len(steps) < extent.held_out:
        decodes = int(random.integers(1, extent.decodes[-1] + 1))
        context = int(random.integers(extent.contexts[0], extent.contexts[-1] + 1))
        adapters = int(random.integers(0, min(extent.adapters[-1], decodes) + 1))
        step = StepSize(
            decodes,
            min(context, extent.kv_tokens // decodes),
            prefills=int(random.random() < 0.4),
            chunk_tokens=int(random.integers(extent.chunks[0], extent.chunks[-2] + 1)),
            ranks=tuple(sorted(random.choice(extent.ranks, adapters).tolist())),
        )
        if step not in fitted:
            steps.append(step)
    return steps
