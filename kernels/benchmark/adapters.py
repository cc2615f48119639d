"""Random adapters in a pool of their own, with pages in no order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from kernels.benchmark.plan import Setting
from kernels.lora_stream import stream_layout
from kernels.shapes import GROUPS, MODULES, ModelShape
from kernels.tables import AdapterTables


class Adapters:
    """An adapter for each of `ranks`, on all modules of the first `layers` layers.

    Elements are standard normal and scales such that what an adapter adds is about as large as
    what it is added to, so that no error hides.
    """

    def __init__(self, setting: Setting, ranks: Sequence[int], layers: int) -> None:
        self.ranks = ranks
        self.shape: ModelShape = replace(setting.shape, num_hidden_layers=layers)
        device, kv_dim = setting.device, self.shape.kv_dim
        rank = torch.tensor(ranks, dtype=torch.int32)[:, None, None]
        rank = rank.expand(-1, layers, len(MODULES)).contiguous()
        layouts = {r: stream_layout(self.shape, rank[i].numpy()) for i, r in enumerate(ranks)}
        counts = [-(-layouts[r][1] // kv_dim) for r in ranks]
        inner = torch.tensor([inner for inner, _ in self.shape.linear_shapes.values()])

        self.tables = AdapterTables.empty(len(ranks), max(counts), self.shape, device)
        self.tables.rank.copy_(rank)
        self.tables.scale.copy_(1 / torch.sqrt(rank * inner))
        for slot, r in enumerate(ranks):
            self.tables.base[slot] = torch.from_numpy(layouts[r][0])
        self.pages = setting.normal(sum(counts), kv_dim)
        shuffled = torch.randperm(sum(counts), device=device, dtype=torch.int32)
        for slot, ids in enumerate(shuffled.split(counts)):
            self.tables.page[slot, : len(ids)] = ids

    def stacked(self, group: str, adapters: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of the first adapters and the first layer, for each module of a group: A [adapters,
        max rank, in], B^T [adapters, max rank, out] and scale [adapters], rows above an adapter's
        rank being zeros. Copies, side by side in memory, which the pool's pages are not."""
        ranks = self.ranks[:adapters]
        stacks = []
        for module in GROUPS[group]:
            index = MODULES.index(module)
            inner, outer = self.shape.linear_shapes[module]
            a = self.pages.new_zeros(adapters, max(ranks), inner)
            b = self.pages.new_zeros(adapters, max(ranks), outer)
            for slot, rank in enumerate(ranks):
                base = int(self.tables.base[slot, 0, index])
                stream = self.pages[self.tables.page[slot].long()].view(-1)[base:]
                a[slot, :rank] = stream[: rank * inner].view(rank, inner)
                b[slot, :rank] = stream[rank * inner :][: rank * outer].view(rank, outer)
            stacks.append((a, b, self.tables.scale[:adapters, 0, index].to(a.dtype)))
        return stacks


def rank_text(ranks: Sequence[int]) -> str:
    """`16`, or `8-128` where they differ."""
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low}-{high}"


def spread(tokens: int, adapters: int, device: torch.device) -> Tensor:
    """Slots [tokens] int32 of a decode step: adapters take turns."""
    return (torch.arange(tokens, device=device) % adapters).int()


def segments(tokens: int, adapters: int, device: torch.device) -> Tensor:
    """Slots [tokens] int32 of a step of prefill: a run of tokens each."""
    return (torch.arange(tokens, device=device) * adapters // tokens).int()


def tokens_of(slots: Tensor, adapters: int) -> list[int]:
    """Tokens of each adapter."""
    return torch.bincount(slots, minlength=adapters).tolist()
