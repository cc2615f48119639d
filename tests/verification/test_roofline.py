"""No step is faster than the hardware allows, and no more work makes a step faster."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simlora.scenario.catalog import (
    GpuSpec,
    ModelSpec,
    gpu_names,
    load_gpu,
    load_model,
    model_names,
)
from simlora.scenario.catalog.specs import Weights
from simlora.scenario.schema import ModelChoice, UserCatalog
from simlora.serving.batch_shape import BatchShape
from simlora.sim import simulate
from simlora.timing import Roofline, steps_until
from tests.simulating import small_scenario

NO_CATALOG = UserCatalog()


@dataclass(frozen=True)
class Hardware:
    """Some GPUs with a model on them."""

    gpu: GpuSpec
    model: ModelSpec
    weights: Weights
    gpus: int

    def timing(self) -> Roofline:
        return Roofline(self.gpu, self.model, self.weights, self.gpus)

    @property
    def read_bytes(self) -> int:
        """Weights that every step reads: all but input embeddings that are not the head too."""
        model = self.model
        embeddings = 0 if model.tie_word_embeddings else 2 * model.vocab_size * model.hidden_size
        return model.weight_bytes(self.weights) - embeddings

    @property
    def bytes_per_s(self) -> float:
        return self.gpu.hbm_gb_per_s * 1e9 * self.gpus

    @property
    def flops_per_s(self) -> float:
        """In the fastest format the GPU has."""
        gpu = self.gpu
        return max(gpu.bf16_tflops, gpu.fp8_tflops or 0, gpu.int8_tops or 0) * 1e12 * self.gpus

    def memory_bound_s(self, shape: BatchShape) -> float:
        """Weights, adapters and the decoding sequences' context, read once."""
        context = shape.decode_attended_tokens * self.model.kv_bytes_per_token
        adapters = 2 * shape.distinct_adapter_parameters
        return (self.read_bytes + context + adapters) / self.bytes_per_s

    def compute_bound_s(self, shape: BatchShape) -> float:
        """Two operations for each weight and token, and attention's."""
        model = self.model
        layers = model.num_hidden_layers
        tokens = shape.prefill_tokens + shape.decode_seqs
        linear = 2 * tokens * layers * model.layer_linear_parameters
        attended = shape.prefill_attended_tokens + shape.decode_attended_tokens
        attention = 4 * layers * model.num_attention_heads * model.head_dim * attended
        return (linear + attention + 2 * shape.lora_token_parameters) / self.flops_per_s


@st.composite
def hardware(draw: st.DrawFn) -> Hardware:
    return Hardware(
        load_gpu(draw(st.sampled_from(gpu_names())), NO_CATALOG),
        load_model(ModelChoice(name=draw(st.sampled_from(model_names()))), NO_CATALOG),
        draw(st.sampled_from(get_args(Weights))),
        draw(st.sampled_from([1, 2, 4, 8])),
    )


@st.composite
def shapes(draw: st.DrawFn, prefill: bool = True) -> BatchShape:
    """A consistent shape: adapters, tokens and contexts fit together."""
    prefill_seqs = draw(st.integers(0, 8)) if prefill else 0
    chunk = draw(st.integers(1, 4096))
    decode_seqs = draw(st.integers(0 if prefill_seqs else 1, 512))
    tokens = prefill_seqs * chunk + decode_seqs
    lora_tokens = draw(st.integers(0, tokens))
    adapters = draw(st.integers(1, min(lora_tokens, 64))) if lora_tokens else 0
    parameters = draw(st.integers(1_000_000, 400_000_000))
    return BatchShape(
        prefill_tokens=prefill_seqs * chunk,
        prefill_seqs=prefill_seqs,
        prefill_attended_tokens=prefill_seqs * (chunk * (chunk + 1) // 2),
        decode_seqs=decode_seqs,
        decode_attended_tokens=decode_seqs * draw(st.integers(1, 16_384)),
        lora_tokens=lora_tokens,
        lora_token_parameters=lora_tokens * parameters,
        distinct_adapters=adapters,
        distinct_adapter_parameters=adapters * parameters,
    )


@given(hardware(), shapes())
def test_no_step_is_faster_than_memory_or_compute_allow(setup: Hardware, shape: BatchShape) -> None:
    step_s = setup.timing().step(shape)
    assert step_s >= setup.memory_bound_s(shape)
    assert step_s >= setup.compute_bound_s(shape)


@given(hardware(), shapes(), st.sampled_from([f.name for f in fields(BatchShape)]), st.data())
def test_more_of_anything_never_makes_a_step_faster(
    setup: Hardware, shape: BatchShape, name: str, data: st.DataObject
) -> None:
    more = replace(shape, **{name: getattr(shape, name) + data.draw(st.integers(1, 10**6))})
    timing = setup.timing()
    assert timing.step(more) >= timing.step(shape)


@given(hardware(), shapes(prefill=False), st.integers(1, 600))
def test_a_decode_run_is_the_sum_of_its_steps(
    setup: Hardware, shape: BatchShape, steps: int
) -> None:
    timing = setup.timing()
    one_by_one_s = sum(
        timing.step(
            replace(
                shape,
                decode_attended_tokens=shape.decode_attended_tokens + step * shape.decode_seqs,
            )
        )
        for step in range(steps)
    )
    assert timing.decode_run(shape, steps) == pytest.approx(one_by_one_s, rel=1e-11)


@given(
    first_s=st.floats(1e-5, 10.0),
    growth_s=st.one_of(st.just(0.0), st.floats(1e-12, 1e-2)),
    elapsed_s=st.floats(0.0, 1e4),
)
def test_steps_until_is_the_inverse_of_a_runs_duration(
    first_s: float, growth_s: float, elapsed_s: float
) -> None:
    assume(elapsed_s / first_s < 1e7)

    def run_s(steps: int) -> float:
        return steps * first_s + growth_s * (steps * (steps - 1) / 2)

    steps = steps_until(elapsed_s, first_s, growth_s)
    assert steps >= 1
    assert run_s(steps) >= elapsed_s
    assert steps == 1 or run_s(steps - 1) < elapsed_s


@given(
    st.integers(1, 10**6),
    st.floats(1e-4, 1.0),
    st.one_of(st.just(0.0), st.floats(1e-12, 1e-4)),
)
def test_at_the_very_end_of_a_step_it_counts_as_done(
    steps: int, first_s: float, growth_s: float
) -> None:
    end_s = steps * first_s + growth_s * (steps * (steps - 1) / 2)
    assert steps_until(end_s, first_s, growth_s) == steps


def test_llama_3_1_8b_on_an_h100_reads_15_gb_a_step() -> None:
    """8.03 B parameters less the input embeddings are 15.01 GB in bf16: 4.48 ms at 3.35 TB/s."""
    setup = Hardware(
        load_gpu("h100-80gb", NO_CATALOG),
        load_model(ModelChoice(name="llama-3.1-8b"), NO_CATALOG),
        "bf16",
        1,
    )
    assert setup.read_bytes == pytest.approx(15.01e9, rel=1e-3)
    floor_s = setup.read_bytes / 3.35e12
    one = BatchShape(decode_seqs=1, decode_attended_tokens=1)
    assert setup.memory_bound_s(one) == pytest.approx(floor_s, rel=1e-3) == 4.48e-3
    assert floor_s < setup.timing().step(one) < 2.5 * floor_s


@given(hardware(), shapes(prefill=False))
def test_quantized_weights_never_slow_a_decode_step(setup: Hardware, shape: BatchShape) -> None:
    bf16 = replace(setup, weights="bf16").timing()
    assert setup.timing().step(shape) <= bf16.step(shape)


# --- whole runs ----------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    gpu=st.sampled_from(["rtx-4090", "a100-80gb", "h100-80gb", "h200"]),
    seqs=st.sampled_from([1, 16, 256]),
    prompt=st.sampled_from([8, 500]),
    output=st.sampled_from([1, 100]),
    adapters=st.sampled_from([0, 1]),
)
def test_throughput_of_a_flooded_replica_stays_under_the_roof(
    gpu: str, seqs: int, prompt: int, output: int, adapters: int
) -> None:
    scenario = small_scenario(
        model="llama-3.1-8b",
        fleet=[{"gpu": gpu}],
        tenants=[{"name": "tenant", "count": 8, "adapters": adapters}],
        engine={"max_num_seqs": seqs, "max_num_batched_tokens": 2048, "max_model_len": 2048},
        workload={
            "rate_rps": 1e6,
            "max_requests": 400,
            "prompt_tokens": {"fixed": prompt},
            "output_tokens": {"fixed": output},
        },
    )
    model = load_model(scenario.model, NO_CATALOG)
    setup = Hardware(load_gpu(gpu, NO_CATALOG), model, "bf16", 1)
    summary = simulate(scenario).summary
    throughput: dict[str, Any] = summary["throughput"]
    assert summary["requests"]["completed"] == 400
    step_s = setup.read_bytes / setup.bytes_per_s
    assert throughput["output_tokens_per_s"] <= seqs / step_s
    tokens_per_s = throughput["input_tokens_per_s"] + throughput["output_tokens_per_s"]
    linear = 2 * model.num_hidden_layers * model.layer_linear_parameters
    assert tokens_per_s - throughput["requests_per_s"] <= setup.flops_per_s / linear
