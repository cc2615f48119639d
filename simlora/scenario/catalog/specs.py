"""What a GPU can do and what a model is made of: figures, and the arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from simlora.scenario.strict import Strict

Weights = Literal["bf16", "fp8", "int8", "int4", "nvfp4"]

_Count = Annotated[int, Field(gt=0)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

TARGET_SETS: dict[str, tuple[str, ...]] = {
    "all-linear": (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    ),
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qv": ("q_proj", "v_proj"),
}

# Bytes of one quantized weight with its share of the scales: int4 as AWQ and GPTQ store it (an
# fp16 scale per group of 128), nvfp4 with an fp8 scale per 16 weights.
_BYTES_PER_WEIGHT: dict[str, float] = {
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5 + 2 / 128,
    "nvfp4": 0.5 + 1 / 16,
}


class Spec(Strict):
    """Base of the catalog's records; `sources` says where each figure comes from."""

    name: str
    sources: dict[str, str] = Field(default_factory=dict)


class GpuSpec(Spec):
    """Datasheet figures of one GPU.

    Compute is dense (no structured sparsity), in 1e12 operations a second; bandwidths are 1e9 B/s.
    """

    memory_gib: _Positive  # what CUDA reports as the device's total memory
    bf16_tflops: _Positive
    fp8_tflops: _Positive | None = None  # None: the tensor cores have no fp8
    int8_tops: _Positive | None = None
    hbm_gb_per_s: _Positive
    pcie_gb_per_s: _Positive  # host to device, one direction
    nvlink_gb_per_s: _Positive | None = None  # one direction; None: all-reduce goes over PCIe
    usd_per_hour: _NotNegative

    @property
    def memory_bytes(self) -> int:
        """Total device memory in bytes."""
        return int(self.memory_gib * 2**30)


class ModelSpec(Spec):
    """Shapes of a Llama-like decoder: RMSNorm, grouped-query attention, gated MLP."""

    hidden_size: _Count
    intermediate_size: _Count
    num_hidden_layers: _Count
    num_attention_heads: _Count
    num_key_value_heads: _Count
    head_dim: _Count
    vocab_size: _Count
    max_position_embeddings: _Count
    tie_word_embeddings: bool = False
    attention_bias: bool = False  # biases on q, k and v, as Qwen2 has them
    # What an engine needs besides; where a config.json is silent, transformers' defaults.
    rms_norm_eps: _Positive = 1e-6
    rope_theta: _Positive = 10_000.0
    rope_scaling: dict[str, JsonValue] | None = None  # as in config.json

    @model_validator(mode="after")
    def _heads_divide(self) -> ModelSpec:
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads ({self.num_key_value_heads}) must divide "
                f"num_attention_heads ({self.num_attention_heads})"
            )
        return self

    @property
    def q_dim(self) -> int:
        """Width of the query projection, elements."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Elements of K (or of V) of one token in one layer."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear module of a layer."""
        hidden, inter = self.hidden_size, self.intermediate_size
        return {
            "q_proj": (hidden, self.q_dim),
            "k_proj": (hidden, self.kv_dim),
            "v_proj": (hidden, self.kv_dim),
            "o_proj": (self.q_dim, hidden),
            "gate_proj": (hidden, inter),
            "up_proj": (hidden, inter),
            "down_proj": (inter, hidden),
        }

    @property
    def layer_linear_parameters(self) -> int:
        """Weights of a layer's linear modules, biases and norms excluded."""
        return sum(rows * columns for rows, columns in self.linear_shapes.values())

    @property
    def layer_parameters(self) -> int:
        """All parameters of one layer."""
        biases = self.q_dim + 2 * self.kv_dim if self.attention_bias else 0
        return self.layer_linear_parameters + biases + 2 * self.hidden_size

    @property
    def parameters(self) -> int:
        """Exact parameter count, as the published checkpoint has it."""
        embeddings = self.vocab_size * self.hidden_size
        heads = 1 if self.tie_word_embeddings else 2
        return (
            heads * embeddings + self.num_hidden_layers * self.layer_parameters + self.hidden_size
        )

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of K and V of one token in all layers, bf16."""
        return 2 * 2 * self.num_hidden_layers * self.kv_dim

    def lora_parameters(self, rank: int, targets: str | Sequence[str]) -> int:
        """Parameters of a LoRA adapter: rank * (in + out) for each target of each layer.

        `targets` is a set's name (`all-linear`, `attention`, `qv`) or a list of modules.
        """
        modules = TARGET_SETS[targets] if isinstance(targets, str) else targets
        shapes = self.linear_shapes
        return self.num_hidden_layers * rank * sum(sum(shapes[module]) for module in modules)

    def weight_bytes(self, weights: Weights) -> int:
        """Bytes of the base model's weights.

        Only the layers' linear modules are quantized; embeddings, head, norms and biases stay
        bf16.
        """
        quantized = self.num_hidden_layers * self.layer_linear_parameters
        return int(quantized * _BYTES_PER_WEIGHT[weights] + 2 * (self.parameters - quantized))
