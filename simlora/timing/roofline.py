"""The roofline: step times from datasheet figures, for hardware and models nobody has measured.

The figures of the timing form, derived: dense projections by compute or weight traffic, whichever
takes longer, attention over the KV cache, what LoRA adds, all-reduces under tensor parallelism, and
the stack's own time.
"""

from __future__ import annotations

from dataclasses import dataclass

from simlora.scenario.catalog import GpuSpec, ModelSpec
from simlora.scenario.catalog.specs import Weights
from simlora.timing.form import StepTiming
from simlora.timing.parameters import StepParameters

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


class Roofline(StepTiming):
    """Timing of `tensor_parallel` GPUs of one kind serving one model."""

    def __init__(
        self,
        gpu: GpuSpec,
        model: ModelSpec,
        weights: Weights,
        tensor_parallel: int,
        efficiency: Efficiency | None = None,
    ) -> None:
        super().__init__(
            roofline_parameters(gpu, model, weights, tensor_parallel, efficiency or Efficiency())
        )


def roofline_parameters(
    gpu: GpuSpec, model: ModelSpec, weights: Weights, gpus: int, efficiency: Efficiency
) -> StepParameters:
    """The timing form's figures from a datasheet and a model's shapes."""
    eff, layers = efficiency, model.num_hidden_layers
    bytes_per_s = gpu.hbm_gb_per_s * 1e9 * eff.hbm * gpus
    bf16_per_s = gpu.bf16_tflops * 1e12 * gpus

    # All weights but the input embedding are read once a step; the head computes for the sequences
    # that get a token only.
    head = model.vocab_size * model.hidden_size
    embedding_bytes = 0 if model.tie_word_embeddings else ELEMENT_BYTES * head
    weights_s = (model.weight_bytes(weights) - embedding_bytes) / bytes_per_s
    head_s = 2 * head / (bf16_per_s * eff.compute)
    linear_flops = 2 * layers * model.layer_linear_parameters
    token_compute_s = linear_flops / (_weight_flops(gpu, weights) * gpus * eff.compute)

    # Attention: decode reads the context's K and V, prefill computes on it.
    kv_copies = max(1, gpus // model.num_key_value_heads)
    attention_flops = 4 * layers * model.num_attention_heads * model.head_dim
    attention_s = attention_flops / (bf16_per_s * eff.attention_compute)
    kv_read_s = model.kv_bytes_per_token * kv_copies / bytes_per_s

    reduce_step_s, reduce_token_s = _all_reduce_s(gpu, model, gpus, eff)
    return StepParameters(
        fixed_s=eff.step_s + reduce_step_s,
        sequence_s=eff.sequence_s + head_s,
        weights_s=weights_s,
        token_compute_s=token_compute_s,
        token_s=reduce_token_s,
        decode_attended_s=max(kv_read_s, attention_s),
        prefill_attended_s=attention_s,
        # Launches in any step that has an adapter, weights once per distinct adapter.
        lora_step_s=layers * eff.lora_launches_per_layer * eff.lora_launch_s,
        adapter_parameter_s=ELEMENT_BYTES / bytes_per_s,
        lora_token_parameter_s=2 / (bf16_per_s * eff.compute),
    )


def _all_reduce_s(
    gpu: GpuSpec, model: ModelSpec, gpus: int, eff: Efficiency
) -> tuple[float, float]:
    """Seconds of all-reduces per step and per token: two a layer, and a ring moves 2 (n-1)/n of the
    activations over each link."""
    if gpus == 1:
        return 0.0, 0.0
    link = gpu.nvlink_gb_per_s or gpu.pcie_gb_per_s
    latency_s = eff.all_reduce_s if gpu.nvlink_gb_per_s else eff.all_reduce_pcie_s
    reduces = 2 * model.num_hidden_layers
    moved_bytes = 2 * (gpus - 1) / gpus * model.hidden_size * ELEMENT_BYTES
    return reduces * latency_s, reduces * moved_bytes / (link * 1e9 * eff.link)


def _weight_flops(gpu: GpuSpec, weights: Weights) -> float:
    """Peak FLOP/s of the dense projections. Formats the tensor cores lack, and weight-only ones,
    compute in bf16 after dequantizing."""
    if weights in ("fp8", "nvfp4") and gpu.fp8_tflops is not None:
        return gpu.fp8_tflops * 1e12
    if weights == "int8" and gpu.int8_tops is not None:
        return gpu.int8_tops * 1e12
    return gpu.bf16_tflops * 1e12
