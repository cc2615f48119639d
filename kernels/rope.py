"""The table of rotary position embeddings, with the scalings that stretch a model's context.

Position p turns pair i of a head's elements (element i and element i + head_dim / 2) by the angle
p * theta ** (-2 i / head_dim). The table is made once, on the host, in float64: float32 would round
the angle at position 131,071 by up to 0.004 rad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """`rope_scaling` of a Hugging Face `config.json`.

    `linear` divides every frequency by `factor`. `llama3` (Llama 3.1 and later) divides only those
    that turn less than `low_freq_factor` times over `original_max_position_embeddings` tokens,
    leaves alone those that turn more than `high_freq_factor` times, and blends in between.
    """

    rope_type: Literal["linear", "llama3"]
    factor: float
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    def __post_init__(self) -> None:
        if self.rope_type not in ("linear", "llama3"):
            raise ValueError(f"rope_type must be 'linear' or 'llama3', not {self.rope_type!r}")
        if not self.factor > 0:
            raise ValueError(f"factor must be positive, not {self.factor}")
        if not self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor ({self.low_freq_factor}) must be less than "
                f"high_freq_factor ({self.high_freq_factor})"
            )


def rotary_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> torch.Tensor:
    """Radians a token of each pair of elements: [head_dim / 2] float64."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
    frequencies = theta**-exponents
    if scaling is None:
        return frequencies
    stretched = frequencies / scaling.factor
    if scaling.rope_type == "linear":
        return stretched
    turns = frequencies * scaling.original_max_position_embeddings / (2 * math.pi)
    keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    return torch.lerp(stretched, frequencies, keep.clamp(0, 1))


def rotary_table(
    head_dim: int,
    max_positions: int,
    theta: float,
    scaling: RopeScaling | None,
    device: torch.device | str,
) -> torch.Tensor:
    """[max_positions, head_dim] float32: a row has the cosines of its position, then the sines."""
    positions = torch.arange(max_positions, dtype=torch.float64)
    angles = torch.outer(positions, rotary_frequencies(head_dim, theta, scaling))
    return torch.cat([angles.cos(), angles.sin()], dim=1).to(device, torch.float32)
