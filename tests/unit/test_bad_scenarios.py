"""Every mistake in a scenario file is told in one sentence that names file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario

# A good scenario; a case replaces one line of it or adds lines at its end (line 8 on).
GOOD = """\
name: good
model: llama-3.1-8b
fleet:
  - {gpu: h100-80gb}
tenants:
  - {name: pro, count: 2, tier: gold, adapter: {rank: 32}}
workload: {duration_s: 60, rate_rps: 3}
"""


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        expand(load_scenario(path))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    assert not re.search(r"pydantic|validation error|Traceback|input_value", sentence)
    return sentence


def write(directory: Path, text: str | bytes) -> Path:
    path = directory / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def with_line(number: int, text: str) -> str:
    lines = GOOD.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


def test_the_good_scenario_is_good(tmp_path: Path) -> None:
    assert len(expand(load_scenario(write(tmp_path, GOOD))).tenants) == 2


WRONG_LINES: list[tuple[int, str, str, str]] = [
    # line, what stands there, the field that is named, what is said of it
    (1, "name: 12", "name", "must be text, not 12"),
    (1, "name: a/b", "name", "letters, digits"),
    (1, "name:", "name", "must be text, not null"),
    (1, "title: good", "title", "unknown field"),
    (2, "model: llama-3.1-8", "model.name", "did you mean llama-3.1-8b?"),
    (2, "model: no/such/config.json", "model.name", "No such file"),
    (2, "model: {name: llama-3.1-8b, weights: fp7}", "model.weights", "did you mean fp8?"),
    (2, "model: 8", "model", "must be a mapping of fields, not 8"),
    (4, "  - {gpu: h100}", "fleet.0.gpu", "did you mean h100-64gb or h100-80gb?"),
    (4, "  - {gpus: h100-80gb}", "fleet.0.gpus", "did you mean gpu?"),
    (4, "  - h100-80gb", "fleet.0", "must be a mapping"),
    (4, '  - {gpu: h100-80gb, replicas: "2"}', "fleet.0.replicas", 'not the text "2"'),
    (4, "  - {gpu: h100-80gb, replicas: yes}", "fleet.0.replicas", 'not the text "yes"'),
    (4, "  - {gpu: h100-80gb, replicas: true}", "fleet.0.replicas", "whole number, not true"),
    (4, "  - {gpu: h100-80gb, replicas: 0}", "fleet.0.replicas", "greater than 0, not 0"),
    (4, "  - {gpu: h100-80gb, replicas: 1.5}", "fleet.0.replicas", "whole number, not 1.5"),
    (4, "  - {gpu: h100-80gb, tensor_parallel: 3}", "fleet.0.tensor_parallel", "does not divide"),
    (4, "  - {gpu: h100-80gb, usd_per_gpu_hour: -1}", "fleet.0.usd_per_gpu_hour", "at least 0"),
    (6, "  - {name: pro, count: 0}", "tenants.0.count", "greater than 0"),
    (6, "  - {count: 2}", "tenants.0.name", "is missing"),
    (6, "  - {name: pro, adapter: {rank: 0}}", "tenants.0.adapter.rank", "greater than 0"),
    (6, "  - {name: pro, adapter: {rank: 4096}}", "tenants.0.adapter.rank", "at most 1024"),
    (6, "  - {name: p, adapter: {targets: linear}}", "tenants.0.adapter.targets", "all-linear"),
    (6, "  - {name: p, adapter: {targets: [x]}}", "tenants.0.adapter.targets.0", "q_proj"),
    (6, "  - {name: p, adapter: {targets: []}}", "tenants.0.adapter.targets", "at least 1"),
    (6, "  - {name: p, count: 900000, adapters: 9}", "tenants", "8,100,000 adapters"),
    (6, "  - {name: p, rate_rps_each: 1}", "tenants.0.rate_rps_each", "both set the load"),
    (7, "workload: {rate_rps: -3}", "workload.rate_rps", "greater than 0, not -3"),
    (7, "workload: {rate_rps: .nan}", "workload.rate_rps", "finite number, not nan"),
    (7, "workload: {rate_rps: .inf}", "workload.rate_rps", "finite number, not inf"),
    (7, "workload: {duration_s: 60}", "workload.rate_rps", "is missing"),
    (7, "workload: {rate_rps: 3, max_requests: 1e3}", "workload.max_requests", "write 1000"),
    (7, "workload: {rate_rps: 3, arrivals: poison}", "workload.arrivals", "mean poisson?"),
    (7, "workload: {rate_rps: 3, arrivals: {gama: 2}}", "workload.arrivals", "{gamma: …}"),
    (7, "workload: {rate_rps: 3, arrivals: {gamma: {cv: 0}}}", "workload.arrivals.gamma.cv", "0"),
    (7, "workload: {rate_rps: 3, popularity: {zipf: -1}}", "workload.popularity.zipf", "least 0"),
    (7, "workload: {rate_rps: 3, prompt_tokens: 512}", "workload.prompt_tokens", "{fixed: …}"),
    (
        7,
        "workload: {rate_rps: 3, prompt_tokens: {uniform: {min: 9, max: 3}}}",
        "workload.prompt_tokens.uniform",
        "min (9) must not be greater than max (3)",
    ),
    (
        7,
        "workload: {rate_rps: 3, output_tokens: {lognormal: {mean: 9}}}",
        "workload.output_tokens.lognormal.sigma",
        "is missing",
    ),
    (7, "workload: {trace: t.parquet, rate_rps: 3}", "workload.rate_rps", "beside workload.trace"),
    (7, "workload: {trace: t.parquet, arrivals: mmpp}", "workload.arrivals", "beside"),
    (7, "workload: {rate_rps: 3, rate_scale: 2}", "workload.rate_scale", "needs workload.trace"),
    (
        7,
        "workload: {rate_rps: 3, prefix_block_tokens: 24}",
        "workload.prefix_block_tokens",
        "multiple of engine.kv_block_tokens (16), not 24",
    ),
    (
        7,
        (
            "workload: {rate_rps: 3, arrivals: {bursts: [{tenant: pro-0002, start_s: 1, "
            "duration_s: 1, requests: 1}]}}"
        ),
        "workload.arrivals.bursts.0.tenant",
        "named like pro-0000",
    ),
    (
        7,
        (
            "workload: {rate_rps: 3, duration_s: 9, arrivals: {bursts: [{tenant: pro-0001, "
            "start_s: 10, duration_s: 1, requests: 1}]}}"
        ),
        "workload.arrivals.bursts.0.start_s",
        "less than workload.duration_s (9), not 10",
    ),
    (8, "engine: {max_num_seqs: 9000}", "engine.max_num_batched_tokens", "at least"),
    (8, "engine: {max_model_len: 200000}", "engine.max_model_len", "at most 131072"),
    (8, "engine: {memory: {mode: slots}}", "engine.memory.max_loras", "mode: slots needs it"),
    (8, "engine: {memory: {max_loras: 8}}", "engine.memory.max_loras", "the mode is unified"),
    (8, "engine: {memory: {utilization: 1.1}}", "engine.memory.utilization", "at most 1"),
    (
        8,
        "engine: {memory: {mode: slots, max_loras: 8, max_lora_rank: 16}}",
        "tenants.0.adapter.rank",
        "at most engine.memory.max_lora_rank (16), not 32",
    ),
    (8, "engine: {prefix_cache: {enabled: yes}}", "engine.prefix_cache.enabled", "true or false"),
    (8, "tiers: {golden: {weight: 3}}", "tenants.0.tier", "did you mean golden?"),
    (8, "adapters: {hot: {pinned_tiers: [god]}}", "adapters.hot.pinned_tiers.0", "mean gold?"),
    (
        8,
        "adapters: {hot: {pinned_tiers: [gold], max_adapters: 1}}",
        "adapters.hot.pinned_tiers",
        "2 pinned adapters leave no room",
    ),
    (8, "adapters: {cold_start: [wait]}", "adapters.cold_start", "not a list"),
    (8, "adapters: {store: {bandwidth_gbps: 0}}", "adapters.store.bandwidth_gbps", "0.0001"),
    (8, "adapters: {store: {latency_s: 1e308}}", "adapters.store.latency_s", "at most 86400,"),
    (
        8,
        "adapters: {cold_start: reject, warm: {capacity_gb: 0}}",
        "adapters.cold_start",
        "adapters.warm.capacity_gb is 0",
    ),
    (8, "gateway: {rate_limits: {gld: {rps: 1}}}", "gateway.rate_limits.gld", "mean gold?"),
    (8, "gateway: {rate_limits: {gold: {burst: 1}}}", "gateway.rate_limits.gold", "needs rps,"),
    (
        8,
        "gateway: {rate_limits: {gold: {rps: 3, burst_tokens: 900}}}",
        "gateway.rate_limits.gold.burst_tokens",
        "needs tokens_per_s, ",
    ),
    (
        8,
        "gateway: {rate_limits: {gold: {tokens_per_s: 3, burst: 9}}}",
        "gateway.rate_limits.gold.burst",
        "needs rps, ",
    ),
    (8, "gateway: {kv_budgets: {gld: 0.5}}", "gateway.kv_budgets.gld", "mean gold?"),
    (8, "gateway: {kv_budgets: {gold: 1.5}}", "gateway.kv_budgets.gold", "must be at most 1"),
    (
        8,
        "gateway: {fairness: {by: user}}",
        "gateway.fairness.by",
        "is not known: ",
    ),
    (8, "tiers: {gold: {sla: {availability: 2}}}", "tiers.gold.sla.availability", "at most 1"),
    (8, "tiers: {g old: {}}", "tiers.g old", "letters, digits"),
    (8, "tiers: [gold]", "tiers", "must be a mapping of fields, not a list"),
    (4, "  - {gpu: h100-80gb, replicas: 40000}", "fleet.0.replicas", "at most 10000, not 40000"),
    (
        7,
        "workload: {rate_rps: 3, arrivals: {gamma: {cv: 1e6}}}",
        "workload.arrivals.gamma.cv",
        "100",
    ),
    (
        7,
        "workload: {rate_rps: 3, arrivals: {mmpp: {calm_s: 1e-4}}}",
        "workload.arrivals.mmpp.calm_s",
        "at least 0.001",
    ),
    (
        7,
        "workload: {rate_rps: 3, arrivals: {sessions: {turns_mean: 100000}}}",
        "workload.arrivals.sessions.turns_mean",
        "at most 1000, not 100000",
    ),
    (7, "workload: {rate_rps: 3, duration_s: 1e10}", "workload.duration_s", "at most 1000000000"),
    (8, "run: {warmup_s: 60}", "run.warmup_s", "less than workload.duration_s (60)"),
    (8, "seed: -1", "seed", "at least 0"),
    (8, "catalog: {gpus: {my-gpu: {memory_gib: 80}}}", "catalog.gpus.my-gpu.bf16_tflops", "miss"),
    (
        8,
        "catalog: {gpus: {g: {base: h10}}}",
        "catalog.gpus.g.base",
        "did you mean h100-64gb or h100-80gb?",
    ),
    (8, "catalog: {gpus: {a: {base: b}, b: {base: a}}}", "catalog.gpus.b.base", "each other's"),
    (8, "catalog: {gpus: {g: {base: h200, ram: 1}}}", "catalog.gpus.g.ram", "unknown field"),
    (
        8,
        "catalog: {models: {m: {base: llama-3.1-8b, num_key_value_heads: 5}}}",
        "catalog.models.m",
        "must divide",
    ),
    (8, "name: again", "", '"name" is given twice, first in line 1'),
    (8, "seed: !!python/object:os.system 3", "", "the tag !!python/object:os.system is not allow"),
    (8, "3: 4", "", "a field's name must be text, not 3"),
    (8, "? [a]\n: b", "", "a field's name must be text"),
    (8, "seed: *nobody", "", "undefined alias"),
    (8, "seed: &loop [*loop]", "", "refers to what it is part of"),
    (8, "seed: {", "", "not valid YAML"),
    (8, "seed: 'open", "", "not valid YAML"),
    (8, "run:\n\twarmup_s: 3", "", "a tab cannot be used for indentation"),
    (8, "---\nname: second", "", "a scenario is one document"),
    (8, "seed: " + "9" * 200, "", "200 digits is too large"),
]


@pytest.mark.parametrize(("line", "text", "field", "said"), WRONG_LINES)
def test_a_wrong_line_is_named_with_its_field(
    tmp_path: Path, line: int, text: str, field: str, said: str
) -> None:
    document = GOOD + text + "\n" if line == 8 else with_line(line, text)
    path = write(tmp_path, document)
    sentence = complaint(path)
    assert said in sentence
    match = re.match(re.escape(str(path)) + r":(\d+): ", sentence)
    assert match is not None
    if field:  # of YAML that cannot be parsed, only the neighbourhood is known
        above = {"tenants": 5, "tenants.0.adapter.rank": 6, "tenants.0.tier": 6}
        expected = above.get(field, line)
        assert int(match[1]) == expected
        assert sentence.removeprefix(match[0]).startswith(f"{field}: ")


WRONG_FILES: list[tuple[str | bytes, str]] = [
    ("", "is empty"),
    ("# only a comment\n", "is empty"),
    ("- a\n- b\n", "must be a mapping, not a list"),
    ("just text\n", "must be a mapping, not"),
    (b"\x7fELF\x02\x01\x00\x00", "control character"),
    (b"PAR1\x15\x04\xff\xfe\x89", "not UTF-8 text"),
    (GOOD.encode("utf-16"), "not UTF-8 text"),
    ("x" * (2 * 2**20 + 1), "is larger than 2 MiB"),
    ("[" * 100_000, "nested too deeply"),
    (
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
        "more than 200,000 values",
    ),
    ("name: x\nmodel: llama-3.1-8b\nfleet: []\ntenants: []\nworkload: {}\n", "fleet: needs at"),
    ("model: llama-3.1-8b\n", "is missing"),
]


@pytest.mark.parametrize(("content", "said"), WRONG_FILES, ids=range(len(WRONG_FILES)))
def test_a_file_that_is_no_scenario_is_refused(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    path = write(tmp_path, content)
    sentence = complaint(path)
    assert sentence.startswith(f"{path}:")
    assert said in sentence


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.yaml") == f"{tmp_path}/none.yaml: no such file"
    assert complaint(tmp_path) == f"{tmp_path}: is a directory, not a scenario file"


def test_two_groups_of_one_name_are_refused_at_the_second(tmp_path: Path) -> None:
    path = write(tmp_path, with_line(6, "  - {name: pro}\n  - {name: pro}"))
    assert complaint(path) == (f'{path}:7: tenants.1.name: "pro" is already the name of tenants.0')


def test_if_one_group_has_a_rate_all_need_one(tmp_path: Path) -> None:
    text = with_line(6, "  - {name: a, rate_rps_each: 1}\n  - {name: b}").replace(
        ", rate_rps: 3", ""
    )
    assert ":7: tenants.1.rate_rps_each: is missing" in complaint(write(tmp_path, text))


def test_of_several_mistakes_the_first_in_the_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("count: 2", "count: -2") + "seed: -1\n")
    assert f"{path}:6: tenants.0.count" in complaint(path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "config.json:1: is not valid JSON"),
        ("[]", "must be a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model_type": "gpt2"}', 'model_type is "gpt2", but only llama, qwen2, mistral'),
        ('{"model_type": "llama", "hidden_size": 64}', "is missing"),
        ('{"model_type": "llama", "mlp_bias": true}', "mlp_bias is true"),
        ('{"model_type": "qwen2", "hidden_size": "64"}', 'whole number, not the text "64"'),
    ],
)
def test_a_bad_hugging_face_config_is_named(tmp_path: Path, config: str, said: str) -> None:
    (tmp_path / "config.json").write_text(config)
    path = write(tmp_path, with_line(2, "model: ./config.json"))
    sentence = complaint(path)
    assert sentence.startswith(f"{path}:2: model.name: {tmp_path}/config.json")
    assert said in sentence


def test_an_override_is_named_instead_of_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(UserError, match=r"^--set fleet\.0\.gpu: no GPU \"h20\": did you mean h200"):
        load_scenario(path, {"fleet.0.gpu": "h20"}, option="--set ")


def test_an_override_that_makes_a_block_is_named_instead_of_a_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(UserError, match=r"^--set foo: unknown field"):
        load_scenario(path, {"foo.bar": 1}, option="--set ")


def test_a_key_that_is_no_text_is_refused(tmp_path: Path) -> None:
    scenario = load_scenario(write(tmp_path, GOOD))
    with pytest.raises(UserError, match=r"a text like fleet\.0\.replicas, not 1"):
        scenario.with_overrides({1: 2})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "workload",
    ["workload: {rate_rps: 3}", "workload: {trace: t.parquet, duration_s: 500}"],
)
def test_the_warmup_must_end_before_the_arrivals(tmp_path: Path, workload: str) -> None:
    path = write(tmp_path, with_line(7, workload) + "run: {warmup_s: 600}\n")
    assert "run.warmup_s: must be less than workload.duration_s" in complaint(path)


def test_many_pools_may_not_have_too_many_replicas_together(tmp_path: Path) -> None:
    two = "  - {gpu: h100-80gb, replicas: 6000}\n" * 2
    assert "fleet: 12,000 replicas are more than 10,000" in complaint(
        write(tmp_path, with_line(4, two.rstrip()))
    )
