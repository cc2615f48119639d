"""One replica's engine: the `engine` block of a scenario."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from simlora.scenario.field_types import Fraction, NonNegativeFloat, PositiveInt
from simlora.scenario.presets import with_preset
from simlora.scenario.strict import Strict


class Memory(Strict):
    """`unified`: one paged pool for KV and adapters. `slots`: `max_loras` slots of `max_lora_rank`
    are taken out of the KV cache, and at most `max_loras` distinct adapters run at a time."""

    mode: Literal["unified", "slots"] = "unified"
    utilization: Fraction = 0.9
    # The pool's size in KV tokens (S-LoRA's --num-token); default: all that is left of memory.
    kv_cache_tokens: PositiveInt | None = None
    max_loras: PositiveInt | None = None
    max_lora_rank: PositiveInt | None = None
    # On each GPU, beside weights, slots, the largest buffers and the KV cache: context of the
    # process, libraries' workspaces, what the allocator loses. The default is what vLLM 0.8.5 took
    # on an H100 with 8 to 384 adapter slots (KV capacities published with arXiv 2508.08343); CUDA
    # graphs lie outside of the budget there.
    runtime_gib: NonNegativeFloat = 0.65
    # Slots hold LoRA matrices of the embedding and the head as well (vLLM's Llama does).
    slot_embeddings: bool = False


class Scheduler(Strict):
    """How a replica forms its batches. `order` is a registered name or a dotted path.

    `batching`: prefill chunks and decodes share a step (`mixed`), or decodes pause while newly
    admitted prompts are computed (`separate`). `admission`: a request comes in when its first chunk
    fits into memory, when all of its prompt does, or when the batch will fit to its end (which
    takes every answer's length to be known, as `max_tokens` with `ignore_eos`); that is looked at
    every `admit_every_steps` decode steps. `scans_waiting`: each step walks the
    waiting requests whose adapters have no slot, at a cost that the timing profile knows. `victim`:
    when memory runs out, the request admitted last is preempted, or of the tier with the least
    weight the last.
    """

    batching: Literal["mixed", "separate"] = "mixed"
    order: str = "fcfs"
    chunked_prefill: bool = True
    admission: Literal["first_chunk", "whole_prompt", "whole_request"] = "whole_prompt"
    admit_every_steps: PositiveInt = 1
    scans_waiting: bool = False
    preemption: Literal["recompute"] = "recompute"
    victim: Literal["last", "lowest_tier"] = "last"


class PrefixCaching(Strict):
    """`isolation` says who may share a cached prefix: nobody but the same adapter, the same
    tenant, or everybody (`shared`)."""

    enabled: bool = True
    isolation: Literal["adapter", "tenant", "shared"] = "adapter"


class Engine(Strict):
    """One replica's engine; the fields are named after vLLM's flags.

    `preset` sets the defaults of the other fields to what a server does (see `presets.py`).
    `adapter_loading`: whether steps go on while an adapter is loaded, or the engine copies it (and
    reads it, if it is on local disk only) between two steps.
    """

    preset: Literal["simlora", "vllm-0.8.5", "vllm-0.5.0", "s-lora"] = "simlora"
    max_num_seqs: PositiveInt = 256
    max_num_batched_tokens: PositiveInt = 8192
    max_model_len: PositiveInt | None = None  # default: the model's own limit
    kv_block_tokens: PositiveInt = 16
    memory: Memory = Memory()
    max_cpu_loras: PositiveInt | None = None
    adapter_loading: Literal["overlap", "blocking"] = "overlap"
    scheduler: Scheduler = Scheduler()
    prefix_cache: PrefixCaching = PrefixCaching()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, given: Any) -> Any:
        return with_preset(given) if isinstance(given, dict) else given
