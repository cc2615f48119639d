"""What fits into GPU memory, to the page, and a sentence where it does not."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import GIB, MemoryPlan, plan_memory
from tests.simulating import small_scenario, with_pool

MIB = 2**20


def scenario(model: str = "llama-3.1-8b", gpu: str = "h100-80gb", **changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "name": "fits",
        "model": model,
        "fleet": [{"gpu": gpu}],
        "tenants": [{"name": "tenant"}],
        "workload": {"rate_rps": 1.0},
    }
    return Scenario.model_validate(fields | changes)


def plan(of: Scenario) -> MemoryPlan:
    return plan_memory(expand(of), 0)


def mistake(of: Scenario) -> str:
    with pytest.raises(UserError) as caught:
        plan(of)
    return str(caught.value)


def test_an_all_linear_adapter_of_llama_3_1_8b_takes_80_pages_a_rank_and_layer() -> None:
    for rank in (1, 8, 16, 64):
        shape = {"rank": rank, "targets": "all-linear"}
        of = scenario(tenants=[{"name": "tenant", "adapter": shape}])
        pages = plan(of).adapter_pages(expand(of).adapters[0].parameters)
        assert pages == 80 * rank * 32
        assert pages * plan(of).page_bytes == 5 * MIB * rank


def test_one_rank_costs_as_much_as_40_tokens_of_kv() -> None:
    of = scenario()
    assert plan(of).page_bytes == 2048  # 1,024 elements: K or V of one token in one layer
    assert plan(of).block_pages == 2 * 32 * 16
    per_token = plan(of).block_pages // plan(of).block_tokens
    assert 40 * per_token == 80 * 32


def test_an_adapter_of_odd_size_is_rounded_up_to_whole_pages() -> None:
    assert plan(scenario()).adapter_pages(1) == 1
    assert plan(scenario()).adapter_pages(1024) == 1
    assert plan(scenario()).adapter_pages(1025) == 2


def test_weights_activations_and_pool_are_all_of_the_budget() -> None:
    of = scenario()
    memory = plan(of)
    budget = int(expand(of).gpus[0].memory_gib * GIB * 0.9)
    pool_bytes = memory.pool_pages * memory.page_bytes
    assert memory.weight_bytes == 2 * expand(of).model.parameters
    assert 1 * GIB < budget - pool_bytes - memory.weight_bytes < 3 * GIB
    assert memory.kv_capacity_tokens == memory.pool_pages // memory.block_pages * 16


def test_slots_are_taken_out_of_the_kv_cache_by_their_greatest_rank() -> None:
    unified = plan(scenario())
    memory = {"mode": "slots", "max_loras": 10, "max_lora_rank": 32}
    slots = plan(scenario(engine={"memory": memory}))
    assert slots.slot_bytes == 10 * 32 * 5 * MIB
    assert (unified.pool_pages - slots.pool_pages) * 2048 == pytest.approx(slots.slot_bytes, abs=1)
    assert slots.max_hot_adapters == 10
    assert slots.adapter_pages(10**6) == 0


def test_slots_with_embeddings_hold_matrices_of_the_vocabulary_too() -> None:
    memory = {"mode": "slots", "max_loras": 10, "max_lora_rank": 32}
    plain = plan(scenario(engine={"memory": memory}))
    full = plan(scenario(engine={"memory": memory | {"slot_embeddings": True}}))
    matrices = 2 * 32 * (128_256 + 4096) * 2
    assert full.slot_bytes - plain.slot_bytes == 10 * (matrices + 3 * 256 * 4096 * 2)


def test_many_sequences_take_memory_for_their_logits_and_few_do_not() -> None:
    pools = {
        seqs: plan(scenario(engine={"max_num_seqs": seqs, "max_num_batched_tokens": 2048}))
        for seqs in (1, 16, 1024, 2048)
    }
    assert pools[1].pool_pages == pools[16].pool_pages  # the MLP's intermediates take more
    taken = (pools[1024].pool_pages - pools[2048].pool_pages) * pools[1].page_bytes
    assert taken == pytest.approx(16 * 1024 * 128_256, abs=2048)


def test_two_gpus_hold_more_than_twice_the_kv_of_one() -> None:
    one = plan(scenario())
    two = plan(scenario(fleet=[{"gpu": "h100-80gb", "tensor_parallel": 2}]))
    assert two.weight_bytes == one.weight_bytes
    assert two.kv_capacity_tokens > 2 * one.kv_capacity_tokens


def test_kv_heads_that_cannot_be_split_are_copied() -> None:
    eight, sixteen = (
        plan(scenario(fleet=[{"gpu": "h100-80gb", "tensor_parallel": gpus}])) for gpus in (8, 16)
    )
    assert sixteen.page_bytes == 2 * eight.page_bytes  # 8 KV heads on 16 GPUs


def test_a_model_that_does_not_fit_is_named_with_what_it_needs() -> None:
    told = mistake(scenario("llama-3.1-70b"))
    assert told.startswith("fleet.0: llama-3.1-70b in bf16 needs ")
    assert "h100-80gb at utilization 0.9 has 7" in told
    assert told.endswith("use more or larger GPUs, or quantized weights")


def test_slots_that_take_everything_are_refused() -> None:
    memory = {"mode": "slots", "max_loras": 200, "max_lora_rank": 64}
    told = mistake(scenario(engine={"memory": memory}))
    assert told.startswith("fleet.0: 200 slots of rank 64 take 62.50 GiB, but only ")


def test_an_adapter_larger_than_the_memory_left_is_named() -> None:
    adapter = {"rank": 1024}
    told = mistake(scenario(gpu="a10g", tenants=[{"name": "huge", "adapter": adapter}]))
    assert told.startswith("fleet.0: adapter 'huge-0000' takes 5.00 GiB, but a10g has only ")


def test_one_request_of_the_greatest_length_must_fit() -> None:
    told = mistake(scenario(gpu="a10g"))
    assert told.startswith("fleet.0: one request of 131072 tokens needs 16.00 GiB of KV cache")
    tokens = int(told.partition("set engine.max_model_len to at most ")[2].split()[0])
    plan(scenario(gpu="a10g", engine={"max_model_len": tokens}))  # the advice is right
    assert mistake(scenario(gpu="a10g", engine={"max_model_len": tokens + 16}))


@pytest.mark.parametrize("pinned", [4, 5])
def test_pinned_adapters_must_leave_a_slot_to_the_others(pinned: int) -> None:
    of = small_scenario(
        tenants=[{"name": "pro", "count": pinned, "tier": "gold"}, {"name": "free"}],
        adapters={"hot": {"pinned_tiers": ["gold"], "max_adapters": 4}},
    )
    with pytest.raises(UserError, match=r"pinned_tiers.*: .* pinned adapters leave no"):
        plan(of)


def test_pinned_adapters_count_as_memory_that_is_gone() -> None:
    tenants = [{"name": "pro", "count": 100, "tier": "gold"}, {"name": "free"}]
    roomy = small_scenario(tenants=tenants, adapters={"hot": {"pinned_tiers": ["gold"]}})
    pages = plan(roomy).adapter_pages(expand(roomy).adapters[0].parameters)
    told = mistake(with_pool(roomy, 100 * pages))
    assert "beside the largest adapter, 100 pinned adapters" in told


def test_the_pool_may_be_given_in_tokens_as_far_as_it_fits() -> None:
    given = plan(scenario(engine={"memory": {"kv_cache_tokens": 200_000}}))
    assert given.kv_capacity_tokens == 200_000
    assert "at most" in mistake(scenario(engine={"memory": {"kv_cache_tokens": 2_000_000}}))


def test_presets_are_defaults_beneath_what_is_given() -> None:
    of = scenario(engine={"preset": "vllm-0.8.5", "memory": {"max_loras": 4}})
    assert of.engine.memory.mode == "slots"
    assert (of.engine.memory.max_loras, of.engine.memory.max_lora_rank) == (4, 16)
    assert of.engine.scheduler.scans_waiting
    assert Scenario.model_validate(of.model_dump()) == of
