"""One replica's engine: the `engine` block of a scenario."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simlora.scenario.field_types import (
    Duration,
    Fraction,
    Latency,
    NonNegativeFloat,
    PositiveInt,
)
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


class Grouping(Strict):
    """Adapter-grouped batches: a request joins once its adapter is in the batch, `min_requests` of
    it wait, or it has waited `adapter_wait_s` since it came to the replica."""

    adapter_wait_s: Duration = 0.05
    min_requests: PositiveInt = 4


class Trust(Strict):
    """Batches confined to trust classes: a tenant's own, a tier's, or those that tenant groups
    name (`trust_class`). Only one class runs at a time; its turn ends, and the batch runs empty,
    after another one has waited `max_wait_s` of it."""

    by: Literal["tenant", "tier", "class"] = "class"
    max_wait_s: Duration = 1.0


class Merged(Strict):
    """dLoRA's merged mode (OSDI 2024): an adapter that `share` of the requests within `window_s`
    ask for is merged into the base weights. Its requests then run without LoRA's part of a step,
    and others wait, at most `max_wait_s`.

    `switch_s`: how long a merge or an unmerge stalls the engine. The default is one pass over the
    weights, read and written: 2 x 16 GB (8B parameters in bf16) at the 3.35 TB/s of an H100.
    """

    share: Annotated[float, Field(gt=0.5, le=1)] = 0.6
    window_s: Duration = 5.0
    switch_s: Latency = 0.01
    max_wait_s: Duration = 5.0


class Scheduler(Strict):
    """How a replica forms its batches. `order` is a registered name or a dotted path: `fcfs`, which
    passes over requests whose adapters are not in GPU memory and is therefore `resident_first` too;
    `strict_fcfs`, where such a request holds back all that came after it; `priority`, by weight of
    the tier; `prefix_first`, by the prompt tokens cached, until the first to arrive has waited
    `age_s`. `pass_over_s`: once a request has waited so long for its adapter, nothing that comes
    after it is admitted before the adapter is there.

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
    age_s: Duration = 5.0
    pass_over_s: Latency | None = None
    grouping: Grouping | None = None
    trust: Trust | None = None
    merged: Merged | None = None
    chunked_prefill: bool = True
    admission: Literal["first_chunk", "whole_prompt", "whole_request"] = "whole_prompt"
    admit_every_steps: PositiveInt = 1
    scans_waiting: bool = False
    preemption: Literal["recompute"] = "recompute"
    victim: Literal["last", "lowest_tier"] = "last"


class PrefixCaching(Strict):
    """`isolation` says who may share a cached prefix: nobody but the same adapter, the same
    tenant, or everybody (`shared`). Under `selective` all share what is public, the platform's
    prompt (`workload.arrivals.sessions.common_prefix_tokens`) and the prompts of tenants whose
    `prompt_class` is public; the rest is the adapter's.

    `shared` is what a careless server does: whoever guesses another tenant's prompt sees by the
    time to first token that it was right (arXiv 2409.20002), and the KV found was computed under
    another adapter. So is public KV under `selective`, unless the adapters leave the KV of these
    tokens to the base model, as activated LoRA does (arXiv 2504.12397). The simulation counts the
    time of either, not what it does to answers.

    `timing_noise_s`: the gateway holds every request back by a time uniform over 0 to that many
    seconds, so that a fast answer tells less; it counts as queueing.
    """

    enabled: bool = True
    isolation: Literal["adapter", "tenant", "selective", "shared"] = "adapter"
    timing_noise_s: Latency = 0.0


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
