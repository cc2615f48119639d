"""The kernels in Triton."""

from kernels.triton_ops.activation import silu_mul
from kernels.triton_ops.attention_decode import decode_workspace, paged_decode
from kernels.triton_ops.attention_prefill import paged_prefill
from kernels.triton_ops.expand import expand
from kernels.triton_ops.lora_batch import LoraBatch, prepare_lora
from kernels.triton_ops.norm import rms_norm
from kernels.triton_ops.rotary import rotary_kv_write
from kernels.triton_ops.shrink import shrink

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
