"""What known servers do, as defaults of the `engine` section."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "simlora": {},
    # vLLM 0.8.5, V1 engine: adapters in slots beside the KV cache and padded to the largest rank;
    # waiting requests without a slot are skipped over, one by one in each step; a slot is loaded,
    # from disk if need be, between two steps; a request comes in as soon as its first chunk fits.
    # `max_loras` and `max_lora_rank` are its flags' defaults.
    "vllm-0.8.5": {
        "max_num_batched_tokens": 2048,
        "memory": {"mode": "slots", "max_loras": 1, "max_lora_rank": 16},
        "adapter_loading": "blocking",
        "scheduler": {"admission": "first_chunk", "scans_waiting": True},
    },
    # vLLM 0.5.0, V0 engine: whole prompts are computed in steps of their own, before any decoding;
    # slots and loads as above. It loses more memory to its allocator (what it took on an H100 with
    # 12 to 384 slots and max_num_seqs 4096, published with arXiv 2508.08343).
    "vllm-0.5.0": {
        "max_num_batched_tokens": 4096,
        "memory": {"mode": "slots", "max_loras": 1, "max_lora_rank": 16, "runtime_gib": 3.65},
        "adapter_loading": "blocking",
        "scheduler": {"batching": "separate", "chunked_prefill": False, "scans_waiting": True},
        "prefix_cache": {"enabled": False},
    },
    # S-LoRA: one pool for KV and adapters of any rank, loaded while the batch runs; whole prompts
    # are computed in steps of their own, at most every ten decode steps, and only if the batch will
    # fit to its end; KV is kept token by token; no prefix cache.
    "s-lora": {
        "kv_block_tokens": 1,
        "scheduler": {
            "batching": "separate",
            "chunked_prefill": False,
            "admission": "whole_request",
            "admit_every_steps": 10,
        },
        "prefix_cache": {"enabled": False},
    },
}


def with_preset(engine: dict[str, Any]) -> dict[str, Any]:
    """The section with the preset's defaults beneath what is given; a wrong preset is left for the
    schema to refuse."""
    preset = engine.get("preset")
    defaults = PRESETS.get(preset) if isinstance(preset, str) else None
    return _beneath(defaults, engine) if defaults else engine


def _beneath(defaults: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = dict(given)
    for name, value in defaults.items():
        if name not in merged:
            merged[name] = value
        elif isinstance(value, dict) and isinstance(merged[name], dict):
            merged[name] = _beneath(value, merged[name])
    return merged
