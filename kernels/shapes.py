"""Shapes of a Llama-family decoder, as one GPU of a tensor-parallel group sees them."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace

from kernels.rope import RopeScaling

# Linear modules of a layer in the order in which an adapter's weights lie in the pool, and the
# groups that share their input, each of which is one launch to shrink and one to expand.
GROUPS: dict[str, tuple[str, ...]] = {
    "qkv": ("q_proj", "k_proj", "v_proj"),
    "o": ("o_proj",),
    "gate_up": ("gate_proj", "up_proj"),
    "down": ("down_proj",),
}
MODULES: tuple[str, ...] = tuple(module for modules in GROUPS.values() for module in modules)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """RMSNorm, grouped-query attention with rotary positions, gated MLP.

    Field names are those of a Hugging Face `config.json`. Raises ValueError unless all sizes are at
    least 1 and all widths multiples of 16 elements, which the kernels' loads are aligned to, a
    head's is even, and the base and the norm's epsilon are positive.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    attention_bias: bool = False  # biases on q, k and v, as Qwen2 has them
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.default is MISSING):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads ({self.num_key_value_heads}) must divide "
                f"num_attention_heads ({self.num_attention_heads})"
            )
        for name in ("hidden_size", "intermediate_size", "q_dim", "kv_dim"):
            if getattr(self, name) % 16:
                raise ValueError(f"{name} must be a multiple of 16, not {getattr(self, name)}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even, not {self.head_dim}: positions turn pairs")
        for name in ("rms_norm_eps", "rope_theta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")

    @property
    def q_dim(self) -> int:
        """Width of the query projection, elements."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Elements of a page: K (or V) of one token in one layer."""
        return self.num_key_value_heads * self.head_dim

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(in, out) of each linear module of a layer, in the order of MODULES."""
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

    def shard(self, gpus: int) -> ModelShape:
        """What one of `gpus` GPUs computes: its heads, and its part of the MLP.

        K and V heads that cannot be split further are each held by as many GPUs as there are for
        one. Raises ValueError if the heads or the MLP cannot be split so.
        """
        for name in ("num_attention_heads", "intermediate_size"):
            if getattr(self, name) % gpus:
                raise ValueError(f"{name} ({getattr(self, name)}) cannot be split over {gpus} GPUs")
        kv_heads = self.num_key_value_heads
        if kv_heads % gpus and gpus % kv_heads:
            raise ValueError(f"num_key_value_heads ({kv_heads}) cannot be split over {gpus} GPUs")
        return replace(
            self,
            num_attention_heads=self.num_attention_heads // gpus,
            num_key_value_heads=max(1, kv_heads // gpus),
            intermediate_size=self.intermediate_size // gpus,
        )


SHAPES: dict[str, ModelShape] = {  # of well-known models; the last one is made up, for tests
    "llama-3.1-8b": ModelShape(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=128_256,
        rope_theta=500_000.0,
        rope_scaling=RopeScaling("llama3", 8.0),
    ),
    "qwen2.5-7b": ModelShape(3584, 18944, 28, 28, 4, 128, 152_064, 1e-6, 1e6, attention_bias=True),
    "tiny-llama": ModelShape(256, 768, 4, 4, 2, 64, 4096),
}
