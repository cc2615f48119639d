"""The figures that durations are computed from: few, each with a meaning and a unit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simlora.scenario.strict import Strict

# Wide enough for any server, narrow enough that a simulation ends. Seconds, and bytes a second.
PerStep = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
PerItem = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]  # a token, an adapter, a slot
LoadLatency = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Bandwidth = Annotated[float, Field(ge=1e3, allow_inf_nan=False)]


class StepParameters(Strict):
    """Seconds that a step takes, term by term; a term that a stack does not have is 0.

    step = fixed + sequence * sequences + max(weights, token_compute * tokens) + token * tokens
         + decode_attended * (tokens attended by decoding sequences)
         + prefill_attended * (tokens attended by prefill tokens)
         + scan * (waiting requests passed over)
         + in a step with any adapter: lora_step + lora_slot * slots
         + (adapter + adapter_parameter * parameters) for each distinct adapter
         + (lora_token + lora_token_slot * slots + lora_token_parameter * parameters)
           for each token with an adapter

    Where a stack pads adapters to its largest rank, `parameters` are those of the padded rank.
    All are at least 0, so a step never gets faster by having more to do.
    """

    fixed_s: PerStep = 0.0  # launches, scheduling, sampling: whatever the batch
    sequence_s: PerItem = 0.0  # per sequence: bookkeeping, head, sampling
    weights_s: PerStep = 0.0  # reading the base model's weights
    token_compute_s: PerItem = 0.0  # per token, hidden behind the weights while few
    token_s: PerItem = 0.0  # per token, never hidden: all-reduce, activations
    decode_attended_s: PerItem = 0.0  # per KV token read
    prefill_attended_s: PerItem = 0.0  # per pair of prefill token and attended token
    scan_s: PerItem = 0.0  # per waiting request that is passed over
    lora_step_s: PerStep = 0.0
    lora_slot_s: PerItem = 0.0  # per adapter slot, used or not
    adapter_s: PerItem = 0.0
    adapter_parameter_s: PerItem = 0.0
    lora_token_s: PerItem = 0.0
    lora_token_slot_s: PerItem = 0.0  # per token and slot: kernels' grid over slots
    lora_token_parameter_s: PerItem = 0.0


class LoadParameters(Strict):
    """The copy of an adapter from host to GPU memory: `latency_s`, then the adapter's own bytes at
    `bytes_per_s`, which all GPUs of a replica reach together."""

    latency_s: LoadLatency
    bytes_per_s: Bandwidth
