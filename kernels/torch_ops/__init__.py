"""The kernels' functions in plain torch, for machines without a GPU that Triton knows."""

from kernels.lora_batch import LoraBatch
from kernels.torch_ops.attention import decode_workspace, paged_decode, paged_prefill
from kernels.torch_ops.elementwise import rms_norm, rotary_kv_write, silu_mul
from kernels.torch_ops.lora import expand, prepare_lora, shrink

__all__ = [
    "LoraBatch",
    "decode_workspace",
    "expand",
    "paged_decode",
    "paged_prefill",
    "prepare_lora",
    "rms_norm",
    "rotary_kv_write",
    "shrink",
    "silu_mul",
]
