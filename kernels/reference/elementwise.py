"""RMSNorm and the gated activation as their formulas say, in float64 on the CPU."""

from __future__ import annotations

import torch


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight, each row for itself."""
    x = x.double()
    return x / torch.sqrt((x * x).mean(dim=1, keepdim=True) + eps) * weight.double()


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """gate / (1 + exp(-gate)) * up of rows that hold gate, then up."""
    gate, up = gate_up.double().chunk(2, dim=1)
    return gate / (1 + torch.exp(-gate)) * up
