"""A planned fleet as command lines of servers people run.

Option names are those of `data/server_options.json`, which says what they were read from.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from simlora.errors import UserError
from simlora.scenario.catalog import TARGET_SETS
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import ELEMENT_BYTES, GIB, MemoryPlan, plan_memory

# How each server is told of quantized weights; None: it reads that from the checkpoint.
_VLLM_WEIGHTS = {"fp8": "fp8", "int4": "awq", "nvfp4": "modelopt_fp4"}
_SGLANG_WEIGHTS = {"fp8": "fp8", "int8": "w8a8_int8", "int4": "awq", "nvfp4": "modelopt_fp4"}
_LORAX_WEIGHTS = {"fp8": "fp8", "int8": "eetq", "int4": "awq"}
_UNBOUNDED_SHARE = 0.3  # of the pool for slots, where no hot size says how many
_WAITING = 4  # requests that LoRAX takes in for each that may run: it refuses what is beyond
_CHECKPOINT = "https://huggingface.co/"


@dataclass(frozen=True, slots=True)
class Server:
    """The command line of one replica for one server. `checked`: the release that its options were
    read from. `notes`: where the server differs from what was simulated."""

    name: str
    command: tuple[str, ...]
    checked: str
    source: str
    notes: tuple[str, ...]

    @property
    def line(self) -> str:
        """The command, an option a line, for a shell."""
        return shlex.join(self.command).replace(" --", " \\\n    --")


@cache
def known_options() -> dict[str, dict[str, Any]]:
    """By server, the release and the options: `int`, `float`, `text`, `flag` or the values."""
    path = resources.files(__package__).joinpath("data", "server_options.json")
    known: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return known


def servers(scenario: Scenario) -> tuple[Server, ...]:
    """The command lines of a replica of the scenario's first pool. Raises UserError."""
    deployment = expand(scenario)
    facts = _Facts.of(deployment, plan_memory(deployment, 0))
    return (_vllm(facts), _sglang(facts), _lorax(facts))


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the command lines say."""

    scenario: Scenario
    model: str
    weights: str
    gpus: int
    hot: int
    host: int
    rank: int
    targets: tuple[str, ...]
    max_model_len: int
    static_share: float  # of GPU memory, for weights, adapters and KV cache
    adapter_share: float
    kv_tokens: int
    bounded: bool
    fits: str  # why so many slots do not fit; empty if they do

    @classmethod
    def of(cls, deployment: Deployment, plan: MemoryPlan) -> _Facts:
        scenario, gpu = deployment.scenario, deployment.gpus[0]
        engine, adapters = scenario.engine, deployment.served_by(0)
        gpus = scenario.fleet[0].tensor_parallel
        total = gpu.memory_gib * GIB * gpus
        largest = max((adapter.nbytes for adapter in adapters), default=0)
        rank = engine.memory.max_lora_rank or max((one.rank for one in adapters), default=1)
        pool_bytes = plan.pool_pages * plan.page_bytes
        slot_bytes = deployment.models[0].lora_parameters(rank, "all-linear") * ELEMENT_BYTES
        hot = len(adapters)
        if plan.max_hot_adapters is not None:
            hot = min(hot, plan.max_hot_adapters)
        elif plan.unified:
            hot = min(hot, int(_UNBOUNDED_SHARE * pool_bytes / slot_bytes))
        hot = max(1, hot)
        host = engine.max_cpu_loras
        if host is None:
            host = int(scenario.adapters.warm.capacity_gb * 1e9 // max(largest, 1))
        adapter_bytes = plan.slot_bytes
        if plan.unified:
            adapter_bytes = min(hot * slot_bytes, pool_bytes)
        targets = {
            module for group in scenario.tenants for module in _modules(group.adapter.targets)
        }
        return cls(
            scenario=scenario,
            model=_checkpoint(deployment),
            weights=deployment.weights[0],
            gpus=gpus,
            hot=hot,
            host=max(hot, min(host, len(adapters))),
            rank=rank,
            targets=tuple(module for module in TARGET_SETS["all-linear"] if module in targets),
            max_model_len=plan.max_model_len,
            static_share=(plan.weight_bytes + plan.slot_bytes + pool_bytes) / total,
            adapter_share=adapter_bytes / total,
            kv_tokens=max(0, pool_bytes - (adapter_bytes if plan.unified else 0))
            // (plan.block_pages * plan.page_bytes)
            * plan.block_tokens,
            bounded=plan.max_hot_adapters is not None,
            fits=_fits_in_slots(deployment, hot, rank),
        )

    def notes(self) -> list[str]:
        """Where any of the servers differs from what was simulated."""
        found = []
        if self.scenario.engine.memory.mode == "unified":
            found.append(
                "adapters and KV cache share one pool in the simulation, but not in this server"
            )
        if not self.bounded:
            found.append(
                "nothing bounds the hot adapters in the scenario; slots for at most "
                f"{_UNBOUNDED_SHARE:.0%} of the pool are taken here"
            )
        if self.fits:
            found.append(f"so many slots may not fit: {self.fits}")
        if self.scenario.adapters.hot.eviction != "lru":
            found.append(f"it has no eviction policy {self.scenario.adapters.hot.eviction}")
        return found


def _vllm(facts: _Facts) -> Server:
    engine, notes = facts.scenario.engine, facts.notes()
    ranks = [int(value) for value in known_options()["vllm"]["options"]["--max-lora-rank"]]
    rank = next((value for value in ranks if value >= facts.rank), ranks[-1])
    if rank != facts.rank:
        notes.append(f"it pads adapters of rank {facts.rank} to {rank}")
    options: dict[str, object] = {
        "--tensor-parallel-size": facts.gpus,
        "--dtype": "bfloat16",
        "--quantization": _VLLM_WEIGHTS.get(facts.weights),
        "--gpu-memory-utilization": engine.memory.utilization,
        "--block-size": engine.kv_block_tokens,
        "--max-model-len": facts.max_model_len,
        "--max-num-seqs": engine.max_num_seqs,
        "--max-num-batched-tokens": engine.max_num_batched_tokens,
        _either("enable-chunked-prefill", engine.scheduler.chunked_prefill): True,
        _either("enable-prefix-caching", engine.prefix_cache.enabled): True,
        "--enable-lora": True,
        "--max-loras": facts.hot,
        "--max-lora-rank": rank,
        "--max-cpu-loras": facts.host,
    }
    return _server("vllm", [facts.model], options, notes + _of_weights(facts, _VLLM_WEIGHTS))


def _sglang(facts: _Facts) -> Server:
    engine, notes = facts.scenario.engine, facts.notes()
    chunk = engine.max_num_batched_tokens if engine.scheduler.chunked_prefill else -1
    options: dict[str, object] = {
        "--model-path": facts.model,
        "--tp-size": facts.gpus,
        "--dtype": "bfloat16",
        "--quantization": _SGLANG_WEIGHTS.get(facts.weights),
        "--mem-fraction-static": math.floor(facts.static_share * 100) / 100,
        "--page-size": engine.kv_block_tokens,
        "--context-length": facts.max_model_len,
        "--max-running-requests": engine.max_num_seqs,
        "--chunked-prefill-size": chunk,
        "--disable-radix-cache": not engine.prefix_cache.enabled,
        "--max-total-tokens": engine.memory.kv_cache_tokens,
        "--enable-lora": True,
        "--max-loras-per-batch": facts.hot,
        "--max-loaded-loras": facts.host,
        "--max-lora-rank": facts.rank,
        "--lora-target-modules": facts.targets,
        "--lora-eviction-policy": "fifo"
        if facts.scenario.adapters.hot.eviction == "fifo"
        else "lru",
    }
    notes = [note for note in notes if "policy fifo" not in note]
    return _server("sglang", [], options, notes + _of_weights(facts, _SGLANG_WEIGHTS))


def _lorax(facts: _Facts) -> Server:
    engine = facts.scenario.engine
    longest_prompt = facts.max_model_len - 1
    quantize = _LORAX_WEIGHTS.get(facts.weights)
    options: dict[str, object] = {
        "--model-id": facts.model,
        "--num-shard": facts.gpus,
        "--dtype": "bfloat16" if quantize is None else None,  # it takes one of the two
        "--quantize": quantize,
        "--cuda-memory-fraction": engine.memory.utilization,
        "--adapter-memory-fraction": math.ceil(facts.adapter_share * 100) / 100,
        "--max-active-adapters": facts.hot,
        "--max-input-length": longest_prompt,
        "--max-total-tokens": facts.max_model_len,
        "--max-batch-prefill-tokens": max(engine.max_num_batched_tokens, longest_prompt),
        "--max-batch-total-tokens": facts.kv_tokens,
        "--max-concurrent-requests": _WAITING * engine.max_num_seqs,
        "--chunked-prefill": str(engine.scheduler.chunked_prefill).lower(),
        "--prefix-caching": str(engine.prefix_cache.enabled).lower(),
    }
    notes = [
        *facts.notes(),
        f"it bounds the tokens of a batch, not its sequences (max_num_seqs {engine.max_num_seqs})",
    ]
    return _server("lorax", [], options, notes + _of_weights(facts, _LORAX_WEIGHTS))


def _server(
    name: str, places: Sequence[str], options: Mapping[str, object], notes: Sequence[str]
) -> Server:
    known = known_options()[name]
    command = [*known["command"], *places]
    for option, value in options.items():
        if option not in known["options"]:
            raise ValueError(f"{name} has no option {option}")
        if value is None or value is False:
            continue
        command.append(option)
        if isinstance(value, tuple):
            command += [str(one) for one in value]
        elif value is not True:
            command.append(f"{value:g}" if isinstance(value, float) else str(value))
    return Server(name, tuple(command), known["version"], known["source"], tuple(notes))


def _either(name: str, on: bool) -> str:
    return f"--{name}" if on else f"--no-{name}"


def _of_weights(facts: _Facts, known: Mapping[str, str]) -> list[str]:
    if facts.weights in ("bf16", "fp8"):
        return []
    if facts.weights not in known:
        return [f"{facts.weights} weights: name a checkpoint that is stored so, if it reads such"]
    return [f"{facts.weights} weights: name a checkpoint that is stored so"]


def _fits_in_slots(deployment: Deployment, slots: int, rank: int) -> str:
    """What is wrong with so many slots beside the KV cache, if anything is."""
    scenario = deployment.scenario
    memory = scenario.engine.memory.model_copy(
        update={"mode": "slots", "max_loras": slots, "max_lora_rank": rank}
    )
    hot = scenario.adapters.hot.model_copy(update={"max_adapters": None, "capacity_gb": None})
    slotted = scenario.model_copy(
        update={
            "engine": scenario.engine.model_copy(update={"memory": memory}),
            "adapters": scenario.adapters.model_copy(update={"hot": hot}),
        }
    )
    try:
        plan_memory(expand(slotted), 0)
    except UserError as error:
        return str(error)
    return ""


def _modules(targets: object) -> Sequence[str]:
    if isinstance(targets, str):
        return TARGET_SETS[targets]
    return [str(module) for module in targets] if isinstance(targets, (list, tuple)) else ()


def _checkpoint(deployment: Deployment) -> str:
    """Where the model's figures in the catalog are from, if that is a checkpoint; else its name."""
    model = deployment.models[0]
    source = model.sources.get("shapes", "")
    found = re.search(rf"{re.escape(_CHECKPOINT)}(\S+)", source)
    return found.group(1) if found else model.name
