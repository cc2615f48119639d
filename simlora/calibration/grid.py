"""Which steps to measure on a device, so that each figure of the timing form shows by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec

if TYPE_CHECKING:
    from simlora.engine.bench import StepSize

SEED = 0
USABLE = 0.85  # of free memory: activations and workspaces need the rest
LEAST_KV_TOKENS = 16_384


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


def within(extent: Extent, model: ModelSpec, gpus: int, room_bytes: float, on_cpu: bool) -> Extent:
    """The extent, or as much of it as one of `gpus` GPUs has room for beside its share of the
    weights. Raises UserError if not even a small part of it fits."""
    element_bytes = 4 if on_cpu else 2
    weights = element_bytes * model.parameters / gpus

    def needed(of: Extent) -> float:
        adapters = of.adapters[-1] * sum(model.lora_parameters(r, "all-linear") for r in of.ranks)
        tokens = 1.5 * of.kv_tokens + of.chunks[-1] * of.adapters[1]
        kv = tokens * 2 * model.num_hidden_layers * model.kv_dim / gpus
        return weights + element_bytes * (adapters + kv)

    while needed(extent) > USABLE * room_bytes:
        if len(extent.adapters) > 2 and extent.adapters[-1] > 8:
            extent = replace(extent, adapters=extent.adapters[:-1])
        elif len(extent.ranks) > 2:
            extent = replace(extent, ranks=extent.ranks[:-1])
        elif extent.kv_tokens > LEAST_KV_TOKENS:
            extent = replace(extent, kv_tokens=extent.kv_tokens // 2)
        else:
            raise UserError(
                f"--model {model.name}: weights and measurements need {needed(extent) / 2**30:.1f} "
                f"GiB, but {room_bytes / 2**30:.1f} GiB are free; use a smaller model, or "
                "--tensor-parallel to measure one GPU's share of it"
            )
    return extent


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
