"""The figures that durations are computed from: few, each with a meaning and a unit."""

from __future__ import annotations

from simlora.scenario.field_types import NonNegativeFloat, PositiveFloat
from simlora.scenario.strict import Strict


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

    fixed_s: NonNegativeFloat = 0.0  # launches, scheduling, sampling: whatever the batch
    sequence_s: NonNegativeFloat = 0.0  # per sequence: bookkeeping, head, sampling
    weights_s: NonNegativeFloat = 0.0  # reading the base model's weights
    token_compute_s: NonNegativeFloat = 0.0  # per token, hidden behind the weights while few
    token_s: NonNegativeFloat = 0.0  # per token, never hidden: all-reduce, activations
    decode_attended_s: NonNegativeFloat = 0.0  # per KV token read
    prefill_attended_s: NonNegativeFloat = 0.0  # per pair of prefill token and attended token
    scan_s: NonNegativeFloat = 0.0  # per waiting request that is passed over
    lora_step_s: NonNegativeFloat = 0.0
    lora_slot_s: NonNegativeFloat = 0.0  # per adapter slot, used or not
    adapter_s: NonNegativeFloat = 0.0
    adapter_parameter_s: NonNegativeFloat = 0.0
    lora_token_s: NonNegativeFloat = 0.0
    lora_token_slot_s: NonNegativeFloat = 0.0  # per token and slot: kernels' grid over slots
    lora_token_parameter_s: NonNegativeFloat = 0.0


class LoadParameters(Strict):
    """The copy of an adapter from host to GPU memory: `latency_s`, then the adapter's own bytes at
    `bytes_per_s`, which all GPUs of a replica reach together."""

    latency_s: NonNegativeFloat
    bytes_per_s: PositiveFloat
