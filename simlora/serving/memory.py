"""What fits into a replica's GPU memory, in pages."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import Engine, Memory

GIB = 2**30
ELEMENT_BYTES = 2  # KV cache and adapters are bf16, whatever the weights are
# Of a sequence and entry of the vocabulary: fp32 logits and the sampler's copies of them.
LOGIT_BYTES = 16
# Where slots hold embedding and head too (see Memory.slot_embeddings), each has room for this many
# tokens of its own, three rows of hidden size for each.
EXTRA_VOCABULARY = 256
EXTRA_VOCABULARY_ROWS = 3


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """A replica's memory over all its GPUs together. A page holds `kv_dim` bf16 elements."""

    pool_index: int  # of the scenario's fleet
    page_bytes: int
    pool_pages: int  # for KV, cached prefixes and, in unified mode, adapters
    block_tokens: int  # tokens of a KV block
    block_pages: int  # pages of one KV block: K and V of its tokens in every layer
    weight_bytes: int
    slot_bytes: int  # taken by adapter slots beside the pool
    max_hot_adapters: int | None
    max_model_len: int  # longest prompt and output together
    unified: bool

    def adapter_pages(self, parameters: int) -> int:
        """Pages an adapter takes in the pool (0 where it has a slot)."""
        if not self.unified:
            return 0
        return -(-parameters * ELEMENT_BYTES // self.page_bytes)

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens of KV cache if no adapter were in the pool."""
        return self.pool_pages // self.block_pages * self.block_tokens


def plan_memory(deployment: Deployment, pool_index: int) -> MemoryPlan:
    """The memory plan of the replicas in the scenario's fleet entry `pool_index`.

    Raises UserError if the model, an adapter or one request of the maximum length does not fit.
    """
    scenario, model = deployment.scenario, deployment.models[pool_index]
    weights = deployment.weights[pool_index]
    pool, gpu = scenario.fleet[pool_index], deployment.gpus[pool_index]
    engine, memory = scenario.engine, scenario.engine.memory
    gpus = pool.tensor_parallel
    where = f"fleet.{pool_index}"
    fleet = f"{gpus} x {gpu.name}" if gpus > 1 else gpu.name

    # K and V heads that cannot be split further are held by several GPUs.
    kv_copies = max(1, gpus // model.num_key_value_heads)
    page_bytes = model.kv_dim * ELEMENT_BYTES * kv_copies
    block_pages = 2 * model.num_hidden_layers * engine.kv_block_tokens
    weight_bytes = model.weight_bytes(weights)
    budget = int(gpu.memory_gib * GIB * memory.utilization) * gpus
    unified = memory.mode == "unified"
    slot_bytes = 0
    max_hot = scenario.adapters.hot.max_adapters
    if not unified:
        assert memory.max_loras is not None and memory.max_lora_rank is not None
        max_hot = memory.max_loras
        slot_bytes = memory.max_loras * _slot_parameters(model, memory) * ELEMENT_BYTES
    runtime_bytes = int(memory.runtime_gib * GIB)
    fixed_bytes = weight_bytes + (_activation_bytes(model, engine, gpus) + runtime_bytes) * gpus
    if fixed_bytes >= budget:
        raise UserError(
            f"{where}: {model.name} in {weights} needs {_gib(fixed_bytes)} for "
            f"weights, activations and runtime, but {fleet} at utilization {memory.utilization:g} "
            f"has {_gib(budget)}; use more or larger GPUs, or quantized weights"
        )
    if fixed_bytes + slot_bytes >= budget:
        raise UserError(
            f"{where}: {memory.max_loras} slots of rank {memory.max_lora_rank} take "
            f"{_gib(slot_bytes)}, but only {_gib(budget - fixed_bytes)} are left beside "
            f"{model.name} on {fleet}; lower engine.memory.max_loras or max_lora_rank"
        )
    pool_pages = (budget - fixed_bytes - slot_bytes) // page_bytes
    if memory.kv_cache_tokens is not None:
        blocks = memory.kv_cache_tokens // engine.kv_block_tokens
        if blocks * block_pages > pool_pages:
            fitting = pool_pages // block_pages * engine.kv_block_tokens
            raise UserError(
                f"engine.memory.kv_cache_tokens: {memory.kv_cache_tokens} tokens do not fit into "
                f"{fleet} beside {model.name}; at most {fitting} do"
            )
        pool_pages = blocks * block_pages
    max_model_len = engine.max_model_len or model.max_position_embeddings
    plan = MemoryPlan(
        pool_index=pool_index,
        page_bytes=page_bytes,
        pool_pages=pool_pages,
        block_pages=block_pages,
        weight_bytes=weight_bytes,
        slot_bytes=slot_bytes,
        max_hot_adapters=max_hot,
        max_model_len=max_model_len,
        unified=unified,
        block_tokens=engine.kv_block_tokens,
    )
    _check_adapters_fit(deployment, plan, where, fleet)
    return plan


def _activation_bytes(model: ModelSpec, engine: Engine, gpus: int) -> int:
    """Bytes on each of `gpus` GPUs of what a step needs at most at once: the residual and the MLP's
    intermediates of its tokens, or after them the logits of its sequences, in full on every GPU."""
    token_elements = 4 * model.hidden_size + 3 * model.intermediate_size // gpus
    return max(
        engine.max_num_batched_tokens * token_elements * ELEMENT_BYTES,
        engine.max_num_seqs * model.vocab_size * LOGIT_BYTES,
    )


def _slot_parameters(model: ModelSpec, memory: Memory) -> int:
    """Elements of one adapter slot."""
    assert memory.max_lora_rank is not None
    parameters = model.lora_parameters(memory.max_lora_rank, "all-linear")
    if memory.slot_embeddings:
        # A and B of the input embedding and of the head.
        parameters += 2 * memory.max_lora_rank * (model.vocab_size + model.hidden_size)
        parameters += EXTRA_VOCABULARY_ROWS * EXTRA_VOCABULARY * model.hidden_size
    return parameters


def _check_adapters_fit(deployment: Deployment, plan: MemoryPlan, where: str, fleet: str) -> None:
    """One adapter and one request of the maximum length must fit beside all pinned adapters."""
    pinned_tiers = deployment.scenario.adapters.hot.pinned_tiers
    largest, largest_name, pinned, pinned_count = 0, "", 0, 0
    page, pool = plan.page_bytes, plan.pool_pages
    served = deployment.served_by(plan.pool_index)
    for adapter in served:
        pages = plan.adapter_pages(adapter.parameters)
        if pages > largest:
            largest, largest_name = pages, adapter.name
        if deployment.tier_names[deployment.tenants[adapter.tenant].tier] in pinned_tiers:
            pinned += pages
            pinned_count += 1
    if largest > pool:
        raise UserError(
            f"{where}: adapter {largest_name!r} takes {_gib(largest * page)}, but {fleet} has only "
            f"{_gib(pool * page)} for adapters and KV cache; lower its rank or use a larger GPU"
        )
    hot_gb = deployment.scenario.adapters.hot.capacity_gb
    others = pinned_count < len(served)
    needed = pinned + (largest if others else 0)
    if hot_gb is not None and needed * page > hot_gb * 1e9:
        beside = f" beside {pinned_count} pinned ones" if pinned_count and others else ""
        raise UserError(
            f"adapters.hot.capacity_gb: {hot_gb:g} GB hold no adapter like {largest_name!r}"
            f"{beside}; at least {needed * page / 1e9:.3g} GB are needed"
        )
    limit = plan.max_hot_adapters
    if limit is not None and pinned_count and pinned_count >= limit:
        raise UserError(
            f"adapters.hot.pinned_tiers: {pinned_count} pinned adapters leave none of {limit} "
            "slots to the others; pin fewer tiers or raise the number of slots"
        )
    request = -(-plan.max_model_len // plan.block_tokens) * plan.block_pages
    if pinned + largest + request > pool:
        extra = f", {pinned_count} pinned adapters" if pinned_count else ""
        beside = f" beside the largest adapter{extra}" if largest else extra
        tokens = max(0, pool - pinned - largest) // plan.block_pages * plan.block_tokens
        mends = [f"set engine.max_model_len to at most {tokens}"] if tokens else []
        if not plan.unified:
            mends.append("lower engine.memory.max_loras or max_lora_rank")
        if deployment.scenario.engine.memory.kv_cache_tokens is None:
            mends.append("use a larger GPU")
        else:
            mends.append("raise engine.memory.kv_cache_tokens")
        raise UserError(
            f"{where}: one request of {plan.max_model_len} tokens needs {_gib(request * page)} of "
            f"KV cache, but {fleet} holds {tokens} tokens{beside}; {' or '.join(mends)}"
        )


def _gib(nbytes: float) -> str:
    return f"{nbytes / GIB:.2f} GiB"
