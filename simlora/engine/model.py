"""One step through the model: embedding, layers with their adapters, head, the next tokens."""

from __future__ import annotations

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.lora_batch import LoraBatch
from kernels.pool import DevicePool
from kernels.rope import rotary_table
from kernels.shapes import ModelShape
from simlora.engine.step_inputs import StepInputs
from simlora.engine.weights import LayerWeights, ModelWeights


class Model:
    """A base model over a pool. `ops` is one of the kernels' backends."""

    def __init__(
        self,
        shape: ModelShape,
        weights: ModelWeights,
        pool: DevicePool,
        ops: ModuleType,
        max_positions: int,
    ) -> None:
        self.shape = shape
        self.weights = weights
        self.pool = pool
        self.ops = ops
        device = pool.pages.device
        self._cos_sin = rotary_table(
            shape.head_dim, max_positions, shape.rope_theta, shape.rope_scaling, device
        )

    def forward(
        self, inputs: StepInputs, lora: LoraBatch | None, workspace: Tensor, max_query_len: int
    ) -> Tensor:
        """The most likely next token of each sequence, [sequences] int64; arguments as of
        `logits`."""
        return self.logits(inputs, lora, workspace, max_query_len).argmax(dim=1)

    def logits(
        self, inputs: StepInputs, lora: LoraBatch | None, workspace: Tensor, max_query_len: int
    ) -> Tensor:
        """What speaks for each token as a sequence's next, [sequences, vocabulary].

        `lora` is None for a step without adapters, `workspace` that of the backend's decode
        attention; no chunk has more than `max_query_len` tokens.
        """
        shape, ops, weights = self.shape, self.ops, self.weights
        hidden = F.embedding(inputs.token, weights.embedding)
        residual = torch.zeros_like(hidden)
        normed = torch.empty_like(hidden)
        kv_slot = inputs.kv_slot.long()
        if lora is not None:
            ops.prepare_lora(inputs.adapter_slot, lora)
        for number, layer in enumerate(weights.layers):
            ops.rms_norm(hidden, layer.attention_norm, shape.rms_norm_eps, normed, residual)
            hidden = self._attention(
                number, layer, normed, inputs, kv_slot, lora, workspace, max_query_len
            )
            ops.rms_norm(hidden, layer.mlp_norm, shape.rms_norm_eps, normed, residual)
            hidden = self._mlp(number, layer, normed, lora)
        residual += hidden
        last = residual[inputs.last]
        ops.rms_norm(last, weights.norm, shape.rms_norm_eps, last)
        return F.linear(last, weights.head)

    def _attention(
        self,
        number: int,
        layer: LayerWeights,
        x: Tensor,
        inputs: StepInputs,
        kv_slot: Tensor,
        lora: LoraBatch | None,
        workspace: Tensor,
        max_query_len: int,
    ) -> Tensor:
        shape, ops, pool = self.shape, self.ops, self.pool
        qkv = F.linear(x, layer.qkv, layer.qkv_bias)
        self._adapt(x, qkv, number, "qkv", lora)
        ops.rotary_kv_write(
            qkv, inputs.position, self._cos_sin, pool.pages, pool.block_pages, number, kv_slot
        )
        heads = (len(x), shape.num_attention_heads, shape.head_dim)
        q = qkv[:, : shape.q_dim].view(heads)
        attended = torch.empty(heads, dtype=x.dtype, device=x.device)
        if decodes := inputs.decodes:
            ops.paged_decode(
                q[:decodes],
                pool.pages,
                pool.block_pages,
                number,
                inputs.block_table[:decodes],
                inputs.context[:decodes],
                attended[:decodes],
                workspace,
            )
        if inputs.prefills:
            ops.paged_prefill(
                q[decodes:],
                pool.pages,
                pool.block_pages,
                number,
                inputs.block_table[decodes:],
                inputs.context[decodes:],
                inputs.query_start,
                max_query_len,
                attended[decodes:],
            )
        attended_rows = attended.view(len(x), shape.q_dim)
        out = F.linear(attended_rows, layer.o)
        self._adapt(attended_rows, out, number, "o", lora)
        return out

    def _mlp(self, number: int, layer: LayerWeights, x: Tensor, lora: LoraBatch | None) -> Tensor:
        gate_up = F.linear(x, layer.gate_up)
        self._adapt(x, gate_up, number, "gate_up", lora)
        activated = gate_up.new_empty(len(x), self.shape.intermediate_size)
        self.ops.silu_mul(gate_up, activated)
        out = F.linear(activated, layer.down)
        self._adapt(activated, out, number, "down", lora)
        return out

    def _adapt(self, x: Tensor, y: Tensor, layer: int, group: str, lora: LoraBatch | None) -> None:
        """y += what each token's adapter makes of x."""
        if lora is not None:
            pool = self.pool
            self.ops.shrink(x, pool.pages, pool.tables, lora, layer, group)
            self.ops.expand(y, pool.pages, pool.tables, lora, layer, group)
