"""The roofline: step times from datasheet figures, for hardware and models nobody has measured.

A step is dense projections (compute or weight traffic, whichever takes longer), the head, attention
over the KV cache, what LoRA adds, all-reduces under tensor parallelism, and the stack's own time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from simlora.scenario.catalog import GpuSpec, ModelSpec
from simlora.scenario.catalog.specs import Weights
from simlora.serving.batch_shape import BatchShape
from simlora.timing.base import TimingModel

ELEMENT_BYTES = 2  # activations, KV cache and adapters are bf16


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What real stacks reach of the datasheet's figures, and what they add.

    `compute`, `hbm`, `step_s` and `sequence_s` lie near what vLLM 0.8.5 reaches with Llama-3.1-8B
    on an H100 without LoRA (2,048 prefill tokens in 54.9 ms, decode of 50 sequences in 13.4 ms and
    of 200 in 16.9 ms; measurements published with arXiv 2508.08343). A LoRA launch at 2.5 us, and
    eight a layer (shrink and expand of qkv, o, gate/up, down), is usual inside a CUDA graph.
    """

    compute: float = 0.6
    attention_compute: float = 0.4
    hbm: float = 0.8
    link: float = 0.7
    step_s: float = 1e-3
    sequence_s: float = 15e-6
    lora_launch_s: float = 2.5e-6
    lora_launches_per_layer: int = 8
    all_reduce_s: float = 8e-6  # latency of one over NVLink
    all_reduce_pcie_s: float = 30e-6


class Roofline(TimingModel):
    """Timing of `tensor_parallel` GPUs of one kind serving one model."""

    def __init__(
        self,
        gpu: GpuSpec,
        model: ModelSpec,
        weights: Weights,
        tensor_parallel: int,
        efficiency: Efficiency | None = None,
    ) -> None:
        self.efficiency = eff = efficiency or Efficiency()
        self._identity = (gpu, model, weights, tensor_parallel)
        layers, gpus = model.num_hidden_layers, tensor_parallel
        bytes_per_s = gpu.hbm_gb_per_s * 1e9 * eff.hbm * gpus
        bf16_per_s = gpu.bf16_tflops * 1e12 * gpus

        # Dense projections of all layers, and the head for the sequences that get a token.
        linear = layers * model.layer_linear_parameters
        head = model.vocab_size * model.hidden_size
        embedding_bytes = ELEMENT_BYTES * head * (1 if model.tie_word_embeddings else 2)
        self._weights_s = (model.weight_bytes(weights) - embedding_bytes) / bytes_per_s
        self._token_s = 2 * linear / (_weight_flops(gpu, weights) * gpus * eff.compute)
        self._head_weights_s = ELEMENT_BYTES * head / bytes_per_s
        self._head_token_s = 2 * head / (bf16_per_s * eff.compute)

        # Attention: decode reads the context's K and V, prefill computes on it.
        kv_copies = max(1, gpus // model.num_key_value_heads)
        attention_flops = 4 * layers * model.num_attention_heads * model.head_dim
        attention_s = attention_flops / (bf16_per_s * eff.attention_compute)
        self._decode_attended_s = max(
            model.kv_bytes_per_token * kv_copies / bytes_per_s, attention_s
        )
        self._prefill_attended_s = attention_s

        # LoRA: launches in any step that has an adapter, weights once per distinct adapter.
        self._lora_step_s = layers * eff.lora_launches_per_layer * eff.lora_launch_s
        self._adapter_parameter_s = ELEMENT_BYTES / bytes_per_s
        self._lora_token_parameter_s = 2 / (bf16_per_s * eff.compute)

        # Two all-reduces a layer; a ring moves 2 (n-1)/n of the activations over each link.
        self._reduce_step_s = self._reduce_token_s = 0.0
        if gpus > 1:
            nvlink = gpu.nvlink_gb_per_s
            link_bytes_per_s = (nvlink or gpu.pcie_gb_per_s) * 1e9 * eff.link
            latency_s = eff.all_reduce_s if nvlink else eff.all_reduce_pcie_s
            self._reduce_step_s = 2 * layers * latency_s
            ring = 2 * (gpus - 1) / gpus
            self._reduce_token_s = (
                2 * layers * ring * model.hidden_size * ELEMENT_BYTES / link_bytes_per_s
            )
        self._fixed_s = eff.step_s + self._reduce_step_s
        self._sequence_s = eff.sequence_s

    def step(self, shape: BatchShape) -> float:
        tokens = shape.prefill_tokens + shape.decode_seqs
        seqs = shape.prefill_seqs + shape.decode_seqs
        dense_s = tokens * self._token_s
        head_s = seqs * self._head_token_s
        seconds = (
            self._fixed_s
            + seqs * self._sequence_s
            + (dense_s if dense_s > self._weights_s else self._weights_s)
            + (head_s if head_s > self._head_weights_s else self._head_weights_s)
            + shape.decode_attended_tokens * self._decode_attended_s
            + shape.prefill_attended_tokens * self._prefill_attended_s
            + tokens * self._reduce_token_s
        )
        if shape.lora_tokens:
            weights_s = shape.distinct_adapter_parameters * self._adapter_parameter_s
            flops_s = shape.lora_token_parameters * self._lora_token_parameter_s
            seconds += self._lora_step_s + (weights_s if weights_s > flops_s else flops_s)
        return seconds

    def decode_growth_s(self, shape: BatchShape) -> float:
        return shape.decode_seqs * self._decode_attended_s

    def describe(self) -> dict[str, object]:
        """The figures that determine this model, for the result's provenance."""
        gpu, model, weights, gpus = self._identity
        return {
            "gpu": gpu.model_dump(exclude={"sources", "usd_per_hour"}),
            "model": model.model_dump(exclude={"sources"}),
            "weights": weights,
            "tensor_parallel": gpus,
            "efficiency": asdict(self.efficiency),
        }


def _weight_flops(gpu: GpuSpec, weights: Weights) -> float:
    """Peak FLOP/s of the dense projections. Formats the tensor cores lack, and weight-only ones,
    compute in bf16 after dequantizing."""
    if weights in ("fp8", "nvfp4") and gpu.fp8_tflops is not None:
        return gpu.fp8_tflops * 1e12
    if weights == "int8" and gpu.int8_tops is not None:
        return gpu.int8_tops * 1e12
    return gpu.bf16_tflops * 1e12
