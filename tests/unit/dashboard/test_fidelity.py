"""Uploaded measurements beside their predictions, without a browser."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import simlora
from simlora.calibration.design import read_shapes, rows_of_steps
from simlora.calibration.tables import Selection, read_tables
from simlora.dashboard.fidelity_figures import Fidelity
from simlora.dashboard.fidelity_files import MOST_BYTES, kind_of
from simlora.dashboard.fidelity_fit import BASE_FIGURES, FitRequest
from simlora.dashboard.fidelity_profiles import stated
from simlora.dashboard.fidelity_tasks import Choice, judge_upload
from simlora.errors import UserError
from simlora.scenario.catalog import load_model
from simlora.scenario.schema import ModelChoice
from simlora.timing.profile import load_profile, profile_names
from simlora.validation.metrics import errors, pairs_of
from simlora.validation.rows import held_out, read_runs
from simlora.validation.runner import Settings, predict_runs
from tests.measurements import STEP_BINS, needs
from tests.unit.calibration.measuring import write_table
from tests.unit.validation import runs as published

LLAMA = "vllm-0.8.5-h100-64gb-llama-3.1-8b"
FIT = FitRequest("h100-64gb", "llama-3.1-8b", "vllm-0.8.5")
SCENARIO = """\
name: own-server
model: tiny-llama
fleet: [{gpu: a10g}]
tenants: [{name: t, count: 6, adapter: {rank: 8}}]
workload:
  duration_s: 20
  rate_rps: 4
  prompt_tokens: {fixed: 60}
  output_tokens: {fixed: 30}
engine: {preset: vllm-0.8.5, max_model_len: 1024, memory: {max_loras: 4, max_lora_rank: 8}}
"""


def judge(
    scratch: Path, names: Sequence[str], choice: Choice, selection: Selection | None = None
) -> Fidelity:
    return judge_upload(
        scratch, lambda share, told: None, tuple(names), selection or Selection(), choice
    )


def step_table(path: Path, slots: Sequence[int] = (8, 64), repeats: int = 1) -> Path:
    """Steps that take just what the shipped profile of Llama says."""
    sizes: list[dict[str, float]] = [
        {
            "decode_seqs": decode,
            "prefill_tokens": prefill,
            "decode_attended_tokens": decode * context,
            "distinct_adapters": min(adapters, decode, count),
            "slots": count,
            "rank": 16,
        }
        for count in slots
        for decode, prefill, context in ((8, 0, 200), (64, 0, 150), (64, 512, 90), (200, 900, 400))
        for adapters in (0, 1, 30)
    ]
    write_table(path, [{"step_s": 1.0, **size} for size in sizes])
    (table,) = read_tables([path], Selection())
    profile = load_profile(LLAMA)
    shapes = read_shapes(table, load_model(ModelChoice(name=profile.model)), "all-linear")
    rows = rows_of_steps(shapes, table.columns["step_s"], table.columns["step_s"])
    seconds = rows.predict(profile.step)
    made = [{"step_s": s, **size} for s, size in zip(seconds.tolist(), sizes, strict=True)]
    return write_table(path, made * repeats)


def test_steps_that_a_profile_made_are_predicted_without_error(tmp_path: Path) -> None:
    step_table(tmp_path / "steps.csv")
    found = judge(tmp_path, ["steps.csv"], Choice(LLAMA))
    assert found.judged == len(found.points) == 24
    (line,) = found.errors.to_dict("records")
    assert line["metric"] == "step_s"
    assert line["smape"] == pytest.approx(0, abs=1e-12)
    assert not len(found.beyond)


def test_what_lies_beyond_the_profiles_range_is_told_with_value_and_range(tmp_path: Path) -> None:
    step_table(tmp_path / "steps.csv", slots=(64, 300))
    found = judge(tmp_path, ["steps.csv"], Choice(LLAMA))
    most = load_profile(LLAMA).holds_for["slots"][1]
    assert most < 300
    told = found.beyond["beyond the range in"]
    # Without an adapter slots have no price, so there they are not beyond anything.
    with_adapters = 2 * 4
    assert len(told) == with_adapters
    assert set(told) == {f"adapter slots 300 (0 to {most:.0f})"}
    outside = found.points[found.points["beyond"] != ""]
    assert set(outside["run"]) == set(found.beyond["run"])


def test_a_fit_is_judged_only_on_what_it_did_not_see(tmp_path: Path) -> None:
    step_table(tmp_path / "steps.csv", slots=(8, 64, 128, 192), repeats=2)
    fit = FitRequest(FIT.gpu, FIT.model, FIT.preset, 0.25, base=LLAMA)
    found = judge(tmp_path, ["steps.csv"], Choice(fit=fit))
    assert found.fitted is not None
    assert found.fitted.rows + found.judged == 2 * 48
    # Steps alike stay on one side: each point is there as often as it was measured.
    shape = found.points["measured"].round(12).value_counts()
    assert set(shape % 2) == {0}
    assert found.errors["median"].iloc[0] < 0.02
    kept = tmp_path / "kept.json"
    kept.write_text(found.fitted.text, encoding="utf-8")
    step, base = load_profile(kept).step, load_profile(LLAMA).step
    assert all(getattr(step, name) == getattr(base, name) for name in BASE_FIGURES)
    again = judge(tmp_path, ["steps.csv"], Choice("kept.json", own=True))
    assert again.judged == 96


def test_published_runs_are_judged_as_validate_judges_them(tmp_path: Path) -> None:
    other = {"config_id": "3", "run_id": "s/o/_4_", "adapter_rate_list_rps": "0.1"}
    path = published.write_table(tmp_path / "runs.csv", {}, other, published.REFUSED)
    found = judge(tmp_path, [path.name], Choice(seed=4))
    outcomes = predict_runs(read_runs(path), Settings({"llama-3.1-8b": LLAMA}, 4))
    for metric in ("total_tokens_per_s", "tpot_mean_s", "ttft_mean_s"):
        own = found.points[found.points["metric"] == metric]
        pairs = pairs_of(outcomes, metric)
        assert list(zip(own["predicted"], own["measured"], strict=True)) == pairs
        expected = errors(pairs)
        assert expected is not None
        line = found.errors[(found.errors["metric"] == metric) & (found.errors["runs"] == "all")]
        assert line["smape"].item() == expected.smape
    assert "Predicted not to start: 1 of the 1 that did not" in found.notes


def test_no_more_runs_are_simulated_than_asked_for(tmp_path: Path) -> None:
    changes = [{"config_id": str(number), "window_s": "20"} for number in range(6)]
    published.write_table(tmp_path / "runs.csv", *changes)
    found = judge(tmp_path, ["runs.csv"], Choice(most=2))
    assert found.judged == 2
    assert "2 of 6 runs were drawn by seed 0" in found.notes


def test_published_runs_left_out_of_a_fit_are_those_that_validate_holds_out(
    tmp_path: Path,
) -> None:
    changes = [
        {
            "config_id": str(number),
            "run_id": f"a/b/{number}",
            "max_loras_slots": str(8 * (number + 1)),
            "adapter_rate_list_rps": str(0.1 * (number + 1)),
            "mean_tpot_ms": str(13 + number),
            "window_s": "20",
        }
        for number in range(12)
    ]
    path = published.write_table(tmp_path / "runs.csv", *changes, published.REFUSED)
    fit = FitRequest(FIT.gpu, FIT.model, FIT.preset, 0.3, base=LLAMA)
    found = judge(tmp_path, [path.name], Choice(fit=fit, seed=3))
    started = [run for run in read_runs(path) if run.feasible]
    judged = held_out(started, 0.3, 3)
    assert set(found.points["run"]) == {run.run_id.removeprefix("a/") for run in judged}
    assert found.fitted is not None
    assert found.fitted.rows + len(judged) == len(started)
    assert found.told == f"Published runs of vLLM: {len(judged)} predicted by fitted"


@pytest.fixture
def own_runs(tmp_path: Path) -> Path:
    """Runs of a server that is a simulation by the shipped profile, with the scenario beside."""
    (tmp_path / "own.yaml").write_text(SCENARIO, encoding="utf-8")
    rows = []
    for rate in (1, 2, 4, 8, 12, 16, 24):
        setting = {"workload.rate_rps": rate}
        scenario = simlora.load_scenario(
            tmp_path / "own.yaml", {**setting, "timing.profile": LLAMA}
        )
        latency = simlora.simulate(scenario).summary["latency"]
        rows.append(
            {
                "scenario": "own.yaml",
                **setting,
                "tpot_mean_s": latency["tpot_s"]["mean"],
                "ttft_mean_s": latency["ttft_s"]["mean"],
            }
        )
    write_table(tmp_path / "runs.csv", rows)
    return tmp_path


def test_runs_of_ones_own_are_predicted_by_simulating_their_scenarios(own_runs: Path) -> None:
    found = judge(own_runs, ["runs.csv", "own.yaml"], Choice(LLAMA))
    assert found.judged == 7
    assert found.errors.set_index("metric")["mean"].to_dict() == {
        "tpot_mean_s": 0.0,
        "ttft_mean_s": 0.0,
    }
    assert any("scaled by the roofline, from h100-64gb" in note for note in found.notes)
    without = judge(own_runs, ["runs.csv", "own.yaml"], Choice())  # the scenario's own: roofline
    assert without.errors["mean"].min() > 0.01


def test_a_profile_is_fitted_to_some_runs_and_judged_on_the_others(own_runs: Path) -> None:
    fit = FitRequest("h200", "qwen2.5-7b", "simlora", 0.3, base=LLAMA)
    found = judge(own_runs, ["runs.csv", "own.yaml"], Choice(fit=fit))
    assert found.judged == 2
    assert found.fitted is not None
    assert found.fitted.rows == 5
    kept = own_runs / "kept.json"
    kept.write_text(found.fitted.text, encoding="utf-8")
    profile = load_profile(kept)
    # What was measured is what the scenarios say, whatever the controls do.
    assert (profile.gpu, profile.model, profile.preset) == ("a10g", "tiny-llama", "vllm-0.8.5")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("scenario,tpot_mean_s\nmissing.yaml,0.01\n", "upload the file missing.yaml together"),
        ("scenario,tpot_mean_s\n/etc/passwd,0.01\n", "upload the file /etc/passwd together"),
        (
            "scenario,tpot_mean_s,timing.profile\nown.yaml,0.01,os:abort\n",
            "names a class, os:abort",
        ),
        ("scenario,tpot_mean_s,workload.trace\nown.yaml,0.01,/etc/passwd\n", "names a file"),
        ("scenario,tpot_mean_s,model.name\nown.yaml,0.01,/a/config.json\n", "names a file"),
        ("scenario,tpot_mean_s,workload.duration_s\nown.yaml,0.01,1e9\n", "requests are more than"),
        ("scenario,tpot_mean_s\nown.yaml,fast\n", r"m.csv:2: tpot_mean_s: must be a number"),
        ("decode_seqs,step_s\n8,ten\n", r"m.csv:2: step_s: must be a number, not"),
        ("decode_seqs,step_s\n8\n", "has 1 cells, but the header has 2"),
        ("a,b\n1,2\n", "say below what its columns are called"),
        ("kv_tokens,slots,rank\n9000,8,16\n", "a profile holds no memory"),
    ],
)
def test_a_malformed_or_forbidden_upload_is_told_in_one_sentence(
    text: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "own.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        judge(tmp_path, ["m.csv", "own.yaml"], Choice(LLAMA))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_benchmark_may_not_name_what_only_the_server_has(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SCENARIO, encoding="utf-8")
    common = '"completed": 10, "mean_tpot_ms": 12.0, "request_rate": 5'
    for extra, told in (
        ('"scenario": "/etc/passwd"', "upload the file /etc/passwd"),
        ('"timing.profile": "os:abort"', "names a class, os:abort"),
    ):
        (tmp_path / "bench.json").write_text("{" + f"{common}, {extra}" + "}", encoding="utf-8")
        with pytest.raises(UserError, match=told):
            judge(tmp_path, ["bench.json", "own.yaml"], Choice(LLAMA))
    (tmp_path / "bench.json").write_text("{" + common + "}", encoding="utf-8")
    assert judge(tmp_path, ["bench.json", "own.yaml"], Choice(LLAMA)).judged == 1


def test_a_published_run_that_would_hold_up_the_server_is_refused(tmp_path: Path) -> None:
    for change in (
        {"window_s": "100000000"},
        {"adapter_rate_list_rps": "900000"},
        {"n_adapters": "900000"},
    ):
        published.write_table(tmp_path / "runs.csv", change)
        with pytest.raises(UserError, match="more than the"):
            judge(tmp_path, ["runs.csv"], Choice())


def test_a_profile_of_another_model_is_told(tmp_path: Path) -> None:
    published.write_table(tmp_path / "runs.csv", {})
    with pytest.raises(UserError, match=r"^profile vllm.* is of qwen2\.5-7b, but the runs are of"):
        judge(tmp_path, ["runs.csv"], Choice("vllm-0.8.5-h100-64gb-qwen2.5-7b"))
    with pytest.raises(UserError, match="there is no run of qwen"):
        judge(tmp_path, ["runs.csv"], Choice(fit=FitRequest(FIT.gpu, "qwen2.5-7b", FIT.preset)))


def test_tables_of_steps_need_a_profile(tmp_path: Path) -> None:
    step_table(tmp_path / "steps.csv")
    with pytest.raises(UserError, match=r"^steps\.csv: does not say what to predict with"):
        judge(tmp_path, ["steps.csv"], Choice())


def test_predicting_ends_with_what_there_is_when_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simlora.dashboard import fidelity_tasks

    monkeypatch.setattr(fidelity_tasks, "BUDGET_S", -1.0)
    step_table(tmp_path / "steps.csv")
    found = judge(tmp_path, ["steps.csv"], Choice(LLAMA))
    assert found.judged == 1
    assert "1 of 24 were predicted" in found.notes[-1]


def test_loads_that_a_profile_says_nothing_of_are_left_out_and_not_for_want_of_time(
    tmp_path: Path,
) -> None:
    step_table(tmp_path / "steps.csv")
    write_table(tmp_path / "loads.csv", [{"load_s": 0.01, "rank": rank} for rank in (8, 16)])
    found = judge(tmp_path, ["steps.csv", "loads.csv"], Choice(LLAMA))
    assert found.judged == 26
    profile = load_profile(LLAMA).model_copy(update={"load": None})
    (tmp_path / "own.json").write_text(profile.model_dump_json(), encoding="utf-8")
    found = judge(tmp_path, ["steps.csv", "loads.csv"], Choice("own.json", own=True))
    assert found.judged == 24
    assert found.notes == ("Loads are left out: the profile does not say how long they take",)


def test_runs_of_which_nothing_can_be_compared_are_shown_all_the_same(tmp_path: Path) -> None:
    published.write_table(tmp_path / "runs.csv", published.REFUSED)
    found = judge(tmp_path, ["runs.csv"], Choice())
    assert not len(found.points)

    def page(found: object) -> None:
        from simlora.dashboard.fidelity_charts import draw

        draw(found)  # type: ignore[arg-type]

    shown = AppTest.from_function(page, args=(found,), default_timeout=60).run()
    assert not shown.exception
    assert "did not" in shown.caption[0].value


def test_files_are_told_apart_by_what_is_in_them(tmp_path: Path) -> None:
    table = published.write_table(tmp_path / "a.csv", {}).read_bytes()
    slora = b"method,num_adapters,cv,gpu\nslora,1,1,x\n"
    steps = b"step_s,decode_seqs\n1,1\n"
    assert kind_of({"a.csv": table}) == "published"
    assert kind_of({"a.csv": slora}) == "s-lora"
    assert kind_of({"a.csv": steps, "b.json": b"{}", "c.yaml": b""}) == "measured"
    with pytest.raises(UserError, match=r"^a\.csv: is a table of published runs and comes alone"):
        kind_of({"a.csv": table, "b.csv": steps})
    with pytest.raises(UserError, match="is a scenario without measurements"):
        kind_of({"own.yaml": SCENARIO.encode()})
    with pytest.raises(UserError, match="more than the 8,000,000"):
        kind_of({"a.csv": b"x" * (MOST_BYTES + 1)})
    with pytest.raises(UserError, match="must be one of csv, json"):
        kind_of({"a.zip": b""})
    with pytest.raises(UserError, match="11 files are more"):
        kind_of({f"{number}.csv": steps for number in range(11)})


def test_s_lora_runs_take_the_profile_of_their_gpu_and_are_never_fitted_to(tmp_path: Path) -> None:
    header = (
        "method,setting,gpu,base_model,adapter_ranks,num_adapters,alpha,req_rate_rps,cv,duration_s,"
        "input_tokens_range,output_tokens_range,launch_num_token_pool,throughput_rps,avg_latency_s,"
        "avg_first_token_latency_s\n"
    )
    row = "slora,S1,A10G 24GB,llama-7b,8,4,1,2,1,20,8|64,8|64,14000,1.9,2.5,0.2\n"
    (tmp_path / "slora.csv").write_text(header + row, encoding="utf-8")
    found = judge(tmp_path, ["slora.csv"], Choice())
    assert found.told == "Published runs of S-LoRA: 1 predicted by s-lora-a10g-llama-2-7b"
    assert set(found.errors["metric"]) == {
        "latency_mean_s",
        "first_token_mean_s",
        "requests_per_s",
    }
    with pytest.raises(UserError, match="no profile is fitted to runs of S-LoRA"):
        judge(tmp_path, ["slora.csv"], Choice(fit=FIT))


@needs(STEP_BINS)
def test_real_steps_are_read_under_their_own_names_and_fitted_well(tmp_path: Path) -> None:
    """The steps published with arXiv 2508.08343, left out of the fit, within 5 %."""
    shutil.copy(STEP_BINS, tmp_path / "bins.csv")
    selection = Selection(
        {
            "step_ms": "step_period_median_ms",
            "decode_seqs": "batched_tokens_mean",
            "distinct_adapters": "unique_adapters_mean",
            "slots": "max_loras_slots",
            "rank": "max_lora_rank",
            "weight": "n_steps",
        },
        {"base_model": "llama-3.1-8b-instruct"},
    )
    found = judge(tmp_path, ["bins.csv"], Choice(fit=FIT), selection)
    assert found.judged > 5
    assert found.errors["smape"].iloc[0] < 0.05


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_states_errors_and_a_range_that_the_page_shows(name: str) -> None:
    profile = load_profile(name)
    for beginnings in (("throughput",), ("tpot", "latency"), ("ttft_underloaded", "first_token")):
        assert stated(profile, beginnings).endswith(("(mean)", "(median)", "(SMAPE)"))
    assert {"max_rank", "distinct_adapters", "running"} <= set(profile.holds_for)
    assert stated(profile.model_copy(update={"error": {}}), ("tpot",)) == "none stated"
