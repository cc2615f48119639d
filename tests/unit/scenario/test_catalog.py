"""The catalog's figures and the arithmetic on model shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from simlora.errors import UserError
from simlora.scenario.catalog import GpuSpec, Weights, gpu_names, load_gpu, load_model, model_names
from simlora.scenario.schema import ModelChoice, UserCatalog

PUBLISHED_PARAMETERS = {
    "llama-2-7b": 6_738_415_616,
    "llama-2-13b": 13_015_864_320,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.3-70b": 70_553_706_496,
    "llama-3.1-405b": 405_853_388_800,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-32b": 32_763_876_352,
    "mistral-small-22b": 22_247_282_688,
}
GPUS = {"a10g", "l40s", "rtx-4090", "a100-40gb", "a100-80gb"} | {
    "h100-64gb",
    "h100-80gb",
    "h200",
    "b200",
    "gh200",
}
LLAMA_8B = load_model(ModelChoice(name="llama-3.1-8b"))


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_parameter_counts_equal_the_published_checkpoints(name: str, parameters: int) -> None:
    assert load_model(ModelChoice(name=name)).parameters == parameters


def test_tiny_llama_has_a_few_million_parameters_and_whole_pages() -> None:
    tiny = load_model(ModelChoice(name="tiny-llama"))
    assert 1_000_000 < tiny.parameters < 10_000_000
    assert all(sum(shape) % tiny.kv_dim == 0 for shape in tiny.linear_shapes.values())


def test_the_catalog_holds_what_the_design_promises() -> None:
    assert set(gpu_names()) == {*GPUS, "cpu"}
    assert set(model_names()) == {*PUBLISHED_PARAMETERS, "tiny-llama"}


@pytest.mark.parametrize("name", gpu_names())
def test_every_gpu_figure_has_a_source(name: str) -> None:
    gpu = load_gpu(name)
    assert set(gpu.sources) == set(GpuSpec.model_fields) - {"name", "sources"}


@pytest.mark.parametrize("name", gpu_names())
def test_compute_figures_are_dense(name: str) -> None:
    """A figure with sparsity would be twice what fp8 : bf16 = 2 allows."""
    gpu = load_gpu(name)
    assert gpu.bf16_tflops <= 2250
    for eight_bit in (gpu.fp8_tflops, gpu.int8_tops):
        assert eight_bit is None or 1.9 < eight_bit / gpu.bf16_tflops < 4.1


@pytest.mark.parametrize("name", model_names())
def test_every_model_says_where_its_shapes_come_from(name: str) -> None:
    assert load_model(ModelChoice(name=name)).sources["shapes"]


def test_one_rank_of_an_all_linear_adapter_costs_as_much_as_40_tokens_of_kv() -> None:
    nbytes_per_rank = 2 * LLAMA_8B.lora_parameters(1, "all-linear")
    assert nbytes_per_rank == 5 * 2**20
    assert nbytes_per_rank == 40 * LLAMA_8B.kv_bytes_per_token
    assert nbytes_per_rank == 80 * 32 * 2 * LLAMA_8B.kv_dim  # 80 pages a layer


def test_lora_parameters_follow_the_shapes_of_the_targets() -> None:
    attention = 4096 + 4096 + 2 * (4096 + 1024) + 4096 + 4096
    assert LLAMA_8B.lora_parameters(16, "attention") == 32 * 16 * attention
    assert LLAMA_8B.lora_parameters(8, ["v_proj", "q_proj"]) == LLAMA_8B.lora_parameters(8, "qv")


def test_quantized_weights_shrink_the_linear_layers_alone() -> None:
    linear = 32 * LLAMA_8B.layer_linear_parameters
    rest = 2 * (LLAMA_8B.parameters - linear)
    assert LLAMA_8B.weight_bytes("bf16") == 2 * LLAMA_8B.parameters
    assert LLAMA_8B.weight_bytes("fp8") == LLAMA_8B.weight_bytes("int8") == linear + rest
    assert LLAMA_8B.weight_bytes("int4") == linear // 2 + linear // 128 * 2 + rest
    assert LLAMA_8B.weight_bytes("nvfp4") == linear // 2 + linear // 16 + rest
    sizes = [LLAMA_8B.weight_bytes(weights) for weights in get_args(Weights)]
    assert sizes[0] == max(sizes)


def test_an_own_gpu_inherits_from_its_base_and_says_so() -> None:
    own = UserCatalog(gpus={"mine": {"base": "h200", "usd_per_hour": 2}})
    mine, h200 = load_gpu("mine", own), load_gpu("h200")
    assert (mine.name, mine.usd_per_hour) == ("mine", 2.0)
    assert mine.hbm_gb_per_s == h200.hbm_gb_per_s
    assert mine.sources["usd_per_hour"] == "given in the scenario"
    assert mine.sources["hbm_gb_per_s"] == h200.sources["hbm_gb_per_s"]


def test_an_own_entry_may_change_the_shipped_one_of_its_name() -> None:
    own = UserCatalog(
        gpus={"h200": {"base": "h200", "memory_gib": 100}, "half": {"base": "h200"}},
        models={"long": {"base": "llama-2-7b", "max_position_embeddings": 32768}},
    )
    assert load_gpu("h200", own).memory_gib == 100
    assert load_gpu("half", own).memory_gib == 100
    long = load_model(ModelChoice(name="long"), own)
    assert (long.max_position_embeddings, long.parameters) == (32768, 6_738_415_616)


QWEN = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "torch_dtype": "bfloat16",
}


def test_a_hugging_face_config_gives_the_same_model_as_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "Qwen").mkdir()
    (tmp_path / "Qwen" / "config.json").write_text(json.dumps(QWEN))
    model = load_model(ModelChoice(name=str(tmp_path / "Qwen" / "config.json")))
    shipped = load_model(ModelChoice(name="qwen2.5-7b"))
    assert model.name == "Qwen"
    assert model.model_dump(exclude={"name", "sources"}) == shipped.model_dump(
        exclude={"name", "sources"}
    )


def test_a_folder_stands_for_its_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN))
    assert load_model(ModelChoice(name=f"{tmp_path}/")).hidden_size == 3584


def test_tied_embeddings_are_counted_once(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN | {"tie_word_embeddings": True}))
    tied = load_model(ModelChoice(name=f"{tmp_path}/config.json"))
    assert tied.parameters == 7_615_616_512 - 152064 * 3584


def test_an_unknown_name_is_an_error_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean a100-40gb"):
        load_gpu("A100")
    with pytest.raises(UserError, match=r"did you mean qwen2\.5-7b"):
        load_model(ModelChoice(name="qwen-2.5-7b"))
