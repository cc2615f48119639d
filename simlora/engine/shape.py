"""The catalog's models in the terms of the kernels."""

from __future__ import annotations

from kernels.shapes import ModelShape
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec


def shape_of(model: ModelSpec, gpus: int = 1) -> ModelShape:
    """The shape of a model, or of one GPU's share of it.

    Raises UserError if it cannot be split over so many GPUs, or has widths that kernels lack.
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
            attention_bias=model.attention_bias,
        ).shard(gpus)
    except ValueError as error:
        raise UserError(f"{model.name}: {error}") from None
