"""Batched LoRA in float64, token by token: what the kernels compute, slow and obvious."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kernels.lora_stream import LoraModule


def apply_lora(
    x: Tensor,
    y: Tensor,
    outer: Sequence[int],
    adapters: Sequence[Sequence[LoraModule | None]],
    slot_of_token: Sequence[int],
) -> Tensor:
    """y + scale * B A x, for the modules of one group and each token's own adapter, or none (-1).

    x is [tokens, in], y [tokens, sum of outer] with the modules' outputs, `outer` wide, side by
    side; `adapters[slot]` holds what the adapter adds to each module. Returns float64 on the CPU.
    """
    result = y.double().cpu()
    for token, slot in enumerate(slot_of_token):
        if slot < 0:
            continue
        row = x[token].double().cpu()
        for module, columns in zip(adapters[slot], result[token].split(list(outer)), strict=True):
            if module is not None:
                columns += module.scale * (
                    module.b.double().cpu() @ (module.a.double().cpu() @ row)
                )
    return result


def partial_sums(
    x: Tensor, adapters: Sequence[Sequence[LoraModule | None]], slot_of_token: Sequence[int]
) -> list[list[Tensor | None]]:
    """A x of each token and module, [rank] each, None where there is no adapter."""
    return [
        [
            None if module is None else module.a.double().cpu() @ x[token].double().cpu()
            for module in adapters[slot]
        ]
        if slot >= 0
        else []
        for token, slot in enumerate(slot_of_token)
    ]
