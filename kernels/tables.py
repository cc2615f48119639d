"""Tables on the device that tell the kernels where in the pool an adapter's weights lie.

A resident adapter has one row, its slot. A slot is an index and nothing more: no memory of any
rank is reserved for it, so there may be as many as could ever be resident.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.shapes import MODULES, ModelShape


@dataclass(slots=True)
class AdapterTables:
    """Element e of the stream of slot s lies at `pages[page[s, e // kv_dim], e % kv_dim]`.

    Entries of `page` past an adapter's last page, and all rows of slots that are not in use, mean
    nothing. `kernels.lora_stream` says what the stream holds.
    """

    page: Tensor  # [slots, max_pages] int32: pool page of the adapter's i-th page
    base: Tensor  # [slots, layers, 7] int64: element at which A begins; B^T is at base + rank * in
    rank: Tensor  # [slots, layers, 7] int32: 0 where the adapter leaves the module alone
    scale: Tensor  # [slots, layers, 7] float32: what B A x is multiplied by

    @classmethod
    def empty(
        cls, slots: int, max_pages: int, shape: ModelShape, device: torch.device
    ) -> AdapterTables:
        """Tables of adapters that change nothing: all ranks are 0."""
        modules = (slots, shape.num_hidden_layers, len(MODULES))
        return cls(
            page=torch.zeros(slots, max_pages, dtype=torch.int32, device=device),
            base=torch.zeros(modules, dtype=torch.int64, device=device),
            rank=torch.zeros(modules, dtype=torch.int32, device=device),
            scale=torch.zeros(modules, dtype=torch.float32, device=device),
        )
