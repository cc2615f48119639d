"""The catalog's models in the terms of the kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kernels.rope import RopeScaling
from kernels.shapes import ModelShape
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.scenario.problems import given, one_of

# What a `rope_scaling` of each type has to say. Names are those of config.json.
_ROPE_FIELDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


def shape_of(model: ModelSpec, gpus: int = 1) -> ModelShape:
    """The shape of a model, or of one GPU's share of it.

    Raises UserError if it cannot be split over so many GPUs, has widths that kernels lack, or turns
    positions in a way that the engine does not know.
    """
    try:
        return ModelShape(
            hidden_size=model.hidden_size,
            intermediate_size=model.intermediate_size,
            num_hidden_layers=model.num_hidden_layers,
            num_attention_heads=model.num_attention_heads,
            num_key_value_heads=model.num_key_value_heads,
            head_dim=model.head_dim,
            vocab_size=model.vocab_size,
            rms_norm_eps=model.rms_norm_eps,
            rope_theta=model.rope_theta,
            attention_bias=model.attention_bias,
            rope_scaling=rope_scaling_of(model.rope_scaling),
        ).shard(gpus)
    except ValueError as error:
        raise UserError(f"{model.name}: {error}") from None


def rope_scaling_of(scaling: Mapping[str, Any] | None) -> RopeScaling | None:
    """`rope_scaling` of a config.json; None where positions are as they are.

    Raises UserError for types other than `linear` and `llama3`, and for what is missing in those.
    """
    if scaling is None:
        return None
    kind = scaling.get("rope_type")
    if not isinstance(kind, str) or kind not in _ROPE_FIELDS:
        raise UserError(
            f"rope_scaling: rope_type is {given(kind)}, but the engine has {one_of(_ROPE_FIELDS)}"
        )
    if scaling.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError("rope_scaling: partial_rotary_factor must be 1: all of a head is turned")
    figures: dict[str, Any] = {field: scaling.get(field) for field in _ROPE_FIELDS[kind]}
    for field, value in figures.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise UserError(f"rope_scaling: {field} must be a positive number, not {given(value)}")
    if kind == "linear":
        return RopeScaling("linear", **figures)
    return RopeScaling("llama3", **figures) if kind == "llama3" else None
