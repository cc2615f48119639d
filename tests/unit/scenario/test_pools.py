"""Pools have models, regions and tenants of their own, and adapters follow their group's model."""

from __future__ import annotations

import json
from pathlib import Path

from simlora.scenario.deployment import expand
from simlora.scenario.loading import dump_resolved, json_schema, load_scenario
from simlora.scenario.schema import Empirical, Fixed
from tests.placing import Entries, mixed_scenario

MIXED = """\
name: mixed
model: tiny-llama
fleet:
  - {gpu: a10g}
  - {gpu: a10g, model: ./config.json}
tenants:
  - {name: a, prompt_tokens: {empirical: t.parquet}}
  - {name: b, model: ./config.json}
workload: {rate_rps: 1}
"""
CONFIG = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
}


def test_every_pool_has_its_own_model_and_weights() -> None:
    fleet: Entries = [{}, {"model": {"name": "wide", "weights": "fp8"}}]
    deployment = expand(mixed_scenario(fleet, [{"name": "a"}, {"name": "b", "model": "wide"}]))
    assert [model.name for model in deployment.models] == ["tiny-llama", "wide"]
    assert deployment.weights == ("bf16", "fp8")
    assert deployment.model.name == "tiny-llama"


def test_an_adapter_has_the_shape_of_its_groups_model() -> None:
    fleet: Entries = [{}, {"model": "wide"}]
    deployment = expand(mixed_scenario(fleet, [{"name": "a"}, {"name": "b", "model": "wide"}]))
    small, large = deployment.adapters
    assert (small.model, large.model) == ("tiny-llama", "wide")
    assert small.parameters == deployment.models[0].lora_parameters(16, "all-linear")
    assert large.parameters == deployment.models[1].lora_parameters(16, "all-linear")
    assert small.parameters < large.parameters


def test_a_pool_serves_the_adapters_that_it_may() -> None:
    fleet: Entries = [{}, {"model": "wide"}, {"tenants": ["c"]}]
    groups: Entries = [{"name": "a"}, {"name": "b", "model": "wide"}, {"name": "c"}]
    deployment = expand(mixed_scenario(fleet, groups))
    served = [[adapter.index for adapter in deployment.served_by(pool)] for pool in range(3)]
    assert served == [[0], [1], [2]]


def test_files_of_pools_and_groups_are_found_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "scenario.yaml").write_text(MIXED)
    scenario = load_scenario(tmp_path / "scenario.yaml")
    config = str(tmp_path / "config.json")
    assert scenario.fleet[1].model is not None
    assert scenario.fleet[1].model.name == scenario.tenants[1].model == config
    assert scenario.tenants[0].prompt_tokens == Empirical(empirical=str(tmp_path / "t.parquet"))
    assert [adapter.model for adapter in expand(scenario).adapters] == ["tiny-llama", config]


def test_a_mixed_scenario_resolves_to_itself(tmp_path: Path) -> None:
    fleet: Entries = [{"name": "x"}, {"model": {"name": "wide", "weights": "fp8"}, "region": "eu"}]
    groups: Entries = [
        {"name": "a", "prompt_tokens": {"fixed": 3}},
        {"name": "b", "regions": ["eu"], "model": "wide"},
    ]
    scenario = mixed_scenario(fleet, groups)
    (tmp_path / "again.yaml").write_text(dump_resolved(scenario))
    assert load_scenario(tmp_path / "again.yaml") == scenario


def test_overrides_reach_the_model_of_a_pool_and_the_lengths_of_a_group() -> None:
    scenario = mixed_scenario([{}, {"model": "wide"}], [{"name": "a", "prompt_tokens": "sharegpt"}])
    changed = scenario.with_overrides(
        {"fleet.1.model.weights": "fp8", "tenants.0.prompt_tokens.fixed": 7}
    )
    assert changed.fleet[1].model is not None
    assert (changed.fleet[1].model.name, changed.fleet[1].model.weights) == ("wide", "fp8")
    assert changed.tenants[0].prompt_tokens == Fixed(fixed=7)


def test_the_json_schema_knows_the_short_form_of_a_pools_model() -> None:
    pool = json_schema()["$defs"]["Pool"]
    assert {"type": "string"} in pool["properties"]["model"]["anyOf"]
