"""Profiles: what is read, what is refused, and how figures are carried over to other hardware."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simlora.errors import UserError
from simlora.scenario.catalog import load_gpu, load_model
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import ModelChoice, Scenario
from simlora.serving.batch_shape import BatchShape
from simlora.timing import make_timing
from simlora.timing.measured import MeasuredTiming
from simlora.timing.parameters import StepParameters
from simlora.timing.profile import Profile, load_profile, profile_names
from simlora.timing.roofline import Efficiency, Roofline, roofline_parameters
from simlora.timing.scaling import scaled_step

LLAMA = "vllm-0.8.5-h100-64gb-llama-3.1-8b"
SMALL: dict[str, Any] = {
    "name": "mine",
    "server": "a server",
    "gpu": "h100-64gb",
    "model": "llama-3.1-8b",
    "preset": "vllm-0.8.5",
    "padded": True,
    "step": {"fixed_s": 0.01, "adapter_parameter_s": 1e-12, "lora_slot_s": 1e-5},
    "load": {"latency_s": 0.007, "bytes_per_s": 64e9},
    "holds_for": {"slots": [1, 8], "running": [1, 10], "passed_over": [0, 5]},
    "error": {"throughput_median": 0.02},
    "provenance": {"source": "us", "rows": 3, "date": "2025-06-01", "simlora": "0.1.0"},
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "mine.json"
    path.write_text(json.dumps(SMALL | changes))
    return path


def scenario(profile: str | Path, gpu: str = "h100-64gb", **changes: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "timed",
            "model": "llama-3.1-8b",
            "fleet": [{"gpu": gpu}],
            "tenants": [{"name": "tenant", "count": 4, "adapter": {"rank": 8}}],
            "workload": {"rate_rps": 1.0},
            "engine": {
                "preset": "vllm-0.8.5",
                "max_model_len": 4096,
                "memory": {"max_loras": 4, "max_lora_rank": 16},
            },
            "timing": {"profile": str(profile)},
        }
        | changes
    )


def timing(of: Scenario) -> MeasuredTiming:
    made = make_timing(expand(of), 0)
    assert isinstance(made, MeasuredTiming)
    return made


@pytest.mark.parametrize("name", profile_names())
def test_a_shipped_profile_is_whole_and_named_like_its_file(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.holds_for and profile.provenance.rows
    load_gpu(profile.gpu)
    load_model(ModelChoice(name=profile.model))


def test_a_profile_survives_writing_and_reading(tmp_path: Path) -> None:
    profile = load_profile(written(tmp_path))
    again = tmp_path / "again.json"
    again.write_text(profile.model_dump_json(indent=2))
    assert load_profile(again) == profile


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stp": {}}, "stp: unknown field; did you mean step?"),
        ({"step": {"fixed": 1}}, "step.fixed: unknown field; did you mean fixed_s?"),
        ({"step": {"fixed_s": -1}}, "step.fixed_s: must be at least 0, not -1"),
        ({"step": {"fixed_s": "1"}}, 'step.fixed_s: must be a number, not the text "1"'),
        ({"preset": "vllm"}, 'preset: "vllm" is not known: did you mean vllm-0.8.5 or'),
        ({"padded": 1}, "padded: must be true or false, not 1"),
        ({"load": {"latency_s": 1}}, "load.bytes_per_s: is missing"),
        (
            {"holds_for": {"slot": [1, 2]}},
            'holds_for.slot: "slot" is not known: did you mean slots',
        ),
        ({"holds_for": {"slots": [3, 1]}}, "holds_for.slots: must be [least, most], not [3, 1]"),
        ({"holds_for": {"slots": 3}}, "holds_for.slots: must be a pair [least, most], not 3"),
        ({"error": {"ttft": float("nan")}}, "error.ttft: must be a finite number, not nan"),
        (
            {"provenance": SMALL["provenance"] | {"date": "today"}},
            'provenance.date: must be a date like 2025-12-31, not "today"',
        ),
    ],
)
def test_a_mistake_in_a_profile_is_named(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        load_profile(path)
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{\n 'a': 1}", ":2: is not valid JSON: "),
        (b"", ":1: is not valid JSON: "),
        (b"[1]", ": a timing profile must be a JSON object, not a list"),
        (b'{"name": "\xff"}', ": is not UTF-8 text"),
        (b"[" * 200_000, ": is not a timing profile"),
        (b'{"name": 1' + b"0" * 5000 + b"}", ": is not a timing profile"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_profile(path)
    assert str(caught.value).startswith(f"{path}{told}")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("rooflin", 'no timing profile "rooflin": did you mean roofline?'),
        ("vllm-0.8.5-h100-64gb-llama", f"did you mean {LLAMA}?"),
        ("./none.json", "none.json: cannot be read: No such file"),
        ("no.module:Class", "cannot make 'no.module:Class': ModuleNotFoundError"),
    ],
)
def test_a_profile_nobody_knows_is_told_at_its_field(name: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        make_timing(expand(scenario(name)), 0)
    assert str(caught.value).startswith("timing.profile: ")
    assert told in str(caught.value)


def test_a_relative_profile_starts_from_the_scenario_file(tmp_path: Path) -> None:
    written(tmp_path)
    of = scenario("mine.json").model_dump(mode="json")
    path = tmp_path / "scenario.yaml"
    path.write_text(json.dumps(of))
    assert load_scenario(path).timing.profile == str(tmp_path / "mine.json")
    path.write_text(json.dumps(of | {"timing": {"profile": LLAMA}}))
    assert load_scenario(path).timing.profile == LLAMA


def test_slots_and_the_padded_rank_come_from_the_scenario(tmp_path: Path) -> None:
    of = scenario(written(tmp_path))
    model = expand(of).model
    assert timing(of).slots == 4
    assert timing(of).padded_parameters == model.lora_parameters(16, "all-linear")
    shape = BatchShape(decode_seqs=1, lora_tokens=1, distinct_adapters=1)
    assert timing(of).step(shape) == pytest.approx(
        0.01 + 4e-5 + 1e-12 * model.lora_parameters(16, "all-linear")
    )
    unpadded = timing(scenario(written(tmp_path, padded=False)))
    assert unpadded.padded_parameters is None


def test_on_the_hardware_measured_nothing_is_scaled(tmp_path: Path) -> None:
    made = timing(scenario(written(tmp_path)))
    assert made.scaled_from is None
    assert made.parameters == StepParameters.model_validate(SMALL["step"])
    assert made.extrapolates() == []


def test_elsewhere_terms_keep_their_proportion_to_the_roofline() -> None:
    model, other = (load_model(ModelChoice(name=n)) for n in ("llama-3.1-8b", "qwen2.5-7b"))
    eff = Efficiency()
    here = roofline_parameters(load_gpu("h100-64gb"), model, "bf16", 1, eff)
    there = roofline_parameters(load_gpu("a100-80gb"), other, "bf16", 2, eff)
    # A server that is as the roofline says stays so, wherever it goes; what shows no difference
    # between compute and all-reduces is a cost per token in either case.
    for measured in (here, here.model_copy(update={"adapter_s": 1e-3, "scan_s": 1e-6})):
        scaled = scaled_step(measured, here, there)
        expected = there.model_copy(
            update={"token_s": 0.0, "adapter_s": measured.adapter_s, "scan_s": measured.scan_s}
        )
        for name, value in expected.model_dump().items():
            assert getattr(scaled, name) == pytest.approx(value), name


DECODE_ONLY = {"fixed_s": 12.2e-3, "token_s": 20e-6, "decode_attended_s": 7e-8}


def test_weights_that_were_read_in_the_fixed_part_are_scaled_as_weights() -> None:
    model = load_model(ModelChoice(name="llama-3.1-8b"))
    here, slower = (
        roofline_parameters(load_gpu(gpu), model, "bf16", 1, Efficiency())
        for gpu in ("h100-64gb", "a10g")
    )
    measured = StepParameters.model_validate(DECODE_ONLY)
    assert scaled_step(measured, here, here).fixed_s == pytest.approx(measured.fixed_s)
    scaled = scaled_step(measured, here, slower)
    rest_s = measured.fixed_s - here.weights_s
    assert scaled.fixed_s == pytest.approx(slower.weights_s + rest_s)
    assert scaled.weights_s == 0
    # A server that is faster than the roofline has nothing but weights in there.
    fast = measured.model_copy(update={"fixed_s": 0.9 * here.weights_s})
    assert scaled_step(fast, here, slower).fixed_s == pytest.approx(0.9 * slower.weights_s)


@pytest.mark.parametrize("name", ["decode only", *profile_names()])
@pytest.mark.parametrize("gpu", ["a10g", "l40s", "a100-80gb", "h100-80gb", "b200"])
@pytest.mark.parametrize("model_name", ["llama-3.1-8b", "qwen2.5-7b", "llama-3.3-70b"])
def test_no_scaled_step_is_faster_than_the_weights_can_be_read(
    name: str, gpu: str, model_name: str, tmp_path: Path
) -> None:
    profile = written(tmp_path, step=DECODE_ONLY) if name == "decode only" else name
    roomy = {"gpus": {"here": {"base": gpu, "memory_gib": 200}}}
    of = scenario(profile, "here", model=model_name, catalog=roomy)
    deployment = expand(of)
    model = deployment.model
    embedding_bytes = 0 if model.tie_word_embeddings else 2 * model.vocab_size * model.hidden_size
    read_bytes = model.weight_bytes("bf16") - embedding_bytes
    peak_bytes_per_s = deployment.gpus[0].hbm_gb_per_s * 1e9
    step_s = timing(of).step(BatchShape(decode_seqs=1, decode_attended_tokens=1))
    assert step_s > read_bytes / peak_bytes_per_s


def test_a_scaled_profile_says_so_and_moves_in_the_right_direction() -> None:
    here, slower, wider = (
        timing(scenario(LLAMA, **changes))
        for changes in (
            {},
            {"gpu": "a100-40gb"},
            {"fleet": [{"gpu": "h100-64gb", "tensor_parallel": 2}]},
        )
    )
    assert here.scaled_from is None
    assert slower.scaled_from == wider.scaled_from == "h100-64gb, llama-3.1-8b"
    decode = BatchShape(decode_seqs=32, decode_attended_tokens=20_000)
    prefill = BatchShape(prefill_tokens=2048, prefill_seqs=2, prefill_attended_tokens=10**6)
    for shape in (decode, prefill):
        assert wider.step(shape) < here.step(shape) < slower.step(shape)
    assert here.load is not None and wider.load is not None
    assert wider.load.bytes_per_s == 2 * here.load.bytes_per_s
    assert wider.load.latency_s == here.load.latency_s


def test_a_profile_of_unknown_hardware_holds_there_only(tmp_path: Path) -> None:
    path = written(tmp_path, gpu="ours")
    with pytest.raises(UserError, match=r"measured on ours, .* cannot be carried over"):
        timing(scenario(path))
    ours = {"gpus": {"ours": {"base": "h100-64gb"}}}
    assert timing(scenario(path, "ours", catalog=ours)).scaled_from is None


def test_what_lies_outside_of_the_measurements_is_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    made = timing(scenario(path))
    made.step(BatchShape(decode_seqs=10, passed_over=5))
    assert made.extrapolates() == []
    made.step(BatchShape(decode_seqs=9, prefill_seqs=2, prefill_tokens=5))
    made.step(BatchShape(decode_seqs=1))
    assert made.extrapolates() == ["running"]
    unified = timing(scenario(path, engine={"max_model_len": 4096}))
    assert unified.extrapolates()[:2] == ["slots", "preset"]


def test_slots_do_not_matter_where_nobody_has_an_adapter(tmp_path: Path) -> None:
    path = written(tmp_path, holds_for={"slots": [8, 300], "max_rank": [8, 64]})
    assert timing(scenario(path)).extrapolates() == ["slots"]
    base_only = [{"name": "tenant", "count": 4, "adapters": 0}]
    assert timing(scenario(path, tenants=base_only)).extrapolates() == []


def test_the_last_step_of_a_run_counts_as_well(tmp_path: Path) -> None:
    made = timing(scenario(written(tmp_path, holds_for={"attended_tokens": [0, 1060]})))
    shape = BatchShape(decode_seqs=10, decode_attended_tokens=1000)
    made.step(shape)
    made.note_run(shape, 7)
    assert made.extrapolates() == []
    made.note_run(shape, 8)
    assert made.extrapolates() == ["attended_tokens"]


def test_profile_type_is_closed() -> None:
    assert Profile.model_validate(SMALL).measured_on == "h100-64gb, llama-3.1-8b"
    two = Profile.model_validate(SMALL | {"tensor_parallel": 2, "weights": "fp8"})
    assert two.measured_on == "2 x h100-64gb, llama-3.1-8b in fp8"


@pytest.mark.parametrize(
    ("preset", "model", "gpu", "name", "scaled"),
    [
        ("vllm-0.8.5", "llama-3.1-8b", "h100-64gb", LLAMA, False),
        ("vllm-0.8.5", "llama-3.1-8b", "a100-80gb", LLAMA, True),
        ("vllm-0.8.5", "qwen2.5-7b", "l40s", "vllm-0.8.5-h100-64gb-qwen2.5-7b", True),
        ("s-lora", "llama-2-7b", "a100-40gb", "s-lora-a100-80gb-llama-2-7b", True),
        ("s-lora", "llama-2-7b", "a10g", "s-lora-a10g-llama-2-7b", False),
    ],
)
def test_the_nearest_profile_of_the_preset_is_taken_and_scaled(
    preset: str, model: str, gpu: str, name: str, scaled: bool
) -> None:
    of = scenario("nearest", gpu, model=model, engine={"preset": preset, "max_model_len": 4096})
    made = timing(of)
    assert made.profile_name == name
    assert (made.scaled_from is not None) is scaled
    if scaled:  # just as if the profile had been named
        named = timing(of.with_overrides({"timing.profile": name}))
        assert made.parameters == named.parameters


def test_without_a_profile_of_the_preset_it_is_the_roofline() -> None:
    of = scenario("nearest", engine={"preset": "simlora", "max_model_len": 4096})
    made = make_timing(expand(of), 0)
    assert isinstance(made, Roofline)
    assert made.profile_name is None
