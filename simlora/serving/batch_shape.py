"""What one engine step has to compute, in the quantities that its duration depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(slots=True)
class BatchShape:
    """Sizes of one step. The scheduler keeps the decode fields up to date incrementally.

    A decode step of a sequence that holds `kv` tokens attends `kv + 1` tokens. A prefill token at
    position `p` attends `p + 1`.
    """

    prefill_tokens: int = 0
    prefill_seqs: int = 0  # chunks in this step
    prefill_attended_tokens: int = 0  # sum over the chunks' tokens of the tokens each attends
    decode_seqs: int = 0
    decode_attended_tokens: int = 0  # sum over decoding sequences, for the next step
    lora_tokens: int = 0  # prefill and decode tokens that go through an adapter
    lora_token_parameters: int = 0  # sum over those tokens of their adapter's parameters
    distinct_adapters: int = 0
    distinct_adapter_parameters: int = 0  # sum over distinct adapters of their parameters
    passed_over: int = 0  # waiting requests that the scheduler looks at in vain

    def without_lora(self) -> BatchShape:
        """The same computed by weights that an adapter is merged into."""
        return replace(
            self,
            lora_tokens=0,
            lora_token_parameters=0,
            distinct_adapters=0,
            distinct_adapter_parameters=0,
        )
