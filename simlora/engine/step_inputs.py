"""What a step computes, and the device's integers that tell the kernels.

A step's tokens lie one after the other: one of each decoding sequence, then the prefill chunks.
All of a step's integers go to the device in one transfer, since the overhead of a copy is far more
than these few bytes take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simlora.engine.sampling import Sampling

Ints = NDArray[np.int32]
PADDING = -1
# Parts begin at multiples of 16 bytes, and rows of block tables are multiples of 16 entries: what
# kernels are compiled for, so that no step needs another variant.
ALIGNED = 4


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to


@dataclass(slots=True)
class SequenceStep:
    """One sequence's part in a step.

    `tokens` are those to compute: one in decode, a chunk in prefill; the first of them is number
    `position` of its sequence. `blocks` are the KV blocks that the sequence holds, the computed
    tokens' included. `slot`: its adapter's, -1 for the base model. `sampling`: how the next token
    is chosen, None for the likeliest.
    """

    tokens: Ints
    position: int
    blocks: Ints
    slot: int
    sampling: Sampling | None = None

    @property
    def context(self) -> int:
        """Tokens that the last of the computed ones attends, itself among them."""
        return self.position + len(self.tokens)


@dataclass(slots=True)
class StepInputs:
    """A step on the device, all int32. `decodes` rows of the step are decoding sequences."""

    decodes: int
    prefills: int
    token: Tensor  # [tokens]
    position: Tensor  # [tokens]
    kv_slot: Tensor  # [tokens]: block * block_tokens + offset of its K and V, -1: kept nowhere
    adapter_slot: Tensor  # [tokens]
    context: Tensor  # [sequences]: tokens that the last token attends, 0: padding
    last: Tensor  # [sequences]: the token that predicts the sequence's next
    query_start: Tensor  # [prefills + 1]: first token of each chunk, counted from the first chunk
    block_table: Tensor  # [sequences, max_blocks]


class InputBuffer:
    """Room for any step of up to `sequences` sequences and `tokens` tokens.

    Steps alike in size lie at the same addresses, so that a CUDA graph finds the next one where the
    one that it was captured with lay. The buffer is free for the next step once this one is over.
    """

    def __init__(
        self,
        sequences: int,
        tokens: int,
        max_blocks: int,
        block_tokens: int,
        device: torch.device,
    ) -> None:
        max_blocks = _aligned(max_blocks, 16)
        size = 4 * tokens + 3 * sequences + 1 + sequences * max_blocks + 8 * ALIGNED
        self._host = torch.zeros(size, dtype=torch.int32, pin_memory=device.type == "cuda")
        self._device = torch.zeros_like(self._host, device=device)
        self.max_blocks = max_blocks
        self._block_tokens = block_tokens

    def fill(
        self,
        decodes: Sequence[SequenceStep],
        prefills: Sequence[SequenceStep],
        padded: int | None = None,
    ) -> StepInputs:
        """Put a step on the device, its decoding sequences followed by as many as make `padded`
        that attend nothing, have no adapter and are kept nowhere."""
        rows = len(decodes) if padded is None else padded
        tokens = rows + sum(len(sequence.tokens) for sequence in prefills)
        places, end = self._places(rows, len(prefills), tokens)
        host = self._host.numpy()
        to = {name: host[place] for name, place in places.items()}
        tables = to["block_table"].reshape(-1, self.max_blocks)
        if rows > len(decodes):
            for name in ("token", "position", "context", "last"):
                to[name][:rows].fill(0)
            for name in ("kv_slot", "adapter_slot"):
                to[name][:rows].fill(PADDING)
        start = 0
        for row, sequence in enumerate((*decodes, *prefills)):
            if row == len(decodes):
                start = rows
            if row >= len(decodes):
                row += rows - len(decodes)
                to["query_start"][row - rows] = start - rows
            self._put(to, tables, row, start, sequence)
            start += len(sequence.tokens)
        to["query_start"][len(prefills)] = tokens - rows
        self._device[:end].copy_(self._host[:end], non_blocking=True)
        parts = {name: self._device[place] for name, place in places.items()}
        parts["block_table"] = parts["block_table"].view(-1, self.max_blocks)
        return StepInputs(decodes=rows, prefills=len(prefills), **parts)

    def _places(self, decodes: int, prefills: int, tokens: int) -> tuple[dict[str, slice], int]:
        """Where in the buffer the parts lie, and where the last of them ends."""
        sequences = decodes + prefills
        sizes = {
            "token": tokens,
            "position": tokens,
            "kv_slot": tokens,
            "adapter_slot": tokens,
            "context": sequences,
            "last": sequences,
            "query_start": prefills + 1,
            "block_table": sequences * self.max_blocks,
        }
        places, start = {}, 0
        for name, size in sizes.items():
            places[name] = slice(start, start + size)
            start += _aligned(size, ALIGNED)
        return places, start

    def _put(
        self, to: dict[str, Ints], tables: Ints, row: int, start: int, sequence: SequenceStep
    ) -> None:
        count = len(sequence.tokens)
        tokens = slice(start, start + count)
        position = np.arange(sequence.position, sequence.position + count, dtype=np.int32)
        blocks = sequence.blocks[position // self._block_tokens]
        to["token"][tokens] = sequence.tokens
        to["position"][tokens] = position
        to["kv_slot"][tokens] = blocks * self._block_tokens + position % self._block_tokens
        to["adapter_slot"][tokens] = sequence.slot
        to["context"][row] = sequence.context
        to["last"][row] = start + count - 1
        tables[row, : len(sequence.blocks)] = sequence.blocks
