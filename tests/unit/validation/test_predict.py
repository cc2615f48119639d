"""Predictions of small runs, the client in them, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simlora.cli.main import main
from simlora.timing.profile import load_profile
from simlora.validation.compare import Comparison
from simlora.validation.observer import FIRST_USE_S, Stalls, seen_ttft_s, stalls
from simlora.validation.predict import Client, predict
from simlora.validation.recipe import scenario_of
from simlora.validation.rows import read_runs
from simlora.validation.runner import Settings, predict_runs
from tests.unit.validation.runs import REFUSED, write_table

CAPPED = {
    "config_id": "3",
    "adapter_rate_list_rps": "8",
    "window_s": "1200",
    "load_regime": "heavily_overloaded",
}


def test_a_small_run_completes_what_is_offered(tmp_path: Path) -> None:
    run = read_runs(write_table(tmp_path / "runs.csv", {}))[0]
    predicted = predict(scenario_of(run))
    assert predicted.feasible
    assert predicted.simulated_s == 60
    assert predicted.metrics["total_tokens_per_s"] == pytest.approx(2.4 * 417, rel=0.15)
    assert predicted.metrics["ttft_mean_s"] > 0


def test_too_little_memory_is_a_prediction(tmp_path: Path) -> None:
    run = read_runs(write_table(tmp_path / "runs.csv", REFUSED))[0]
    predicted = predict(scenario_of(run))
    assert not predicted.feasible
    assert "slots of rank 32" in predicted.reason
    assert predicted.wall_s < 1


def test_a_capped_run_may_be_cut_short(tmp_path: Path) -> None:
    run = read_runs(write_table(tmp_path / "runs.csv", CAPPED))[0]
    client = Client(cap=500)
    short, full = (predict(scenario_of(run), client, shorten) for shorten in (True, False))
    assert short.simulated_s < full.simulated_s == 1200
    for metric in ("total_tokens_per_s", "tpot_mean_s", "itl_mean_s"):
        assert short.metrics[metric] == pytest.approx(full.metrics[metric], rel=0.03)


def test_every_number_of_processes_predicts_the_same(tmp_path: Path) -> None:
    runs = read_runs(write_table(tmp_path / "runs.csv", {}, REFUSED))
    one, two = (predict_runs(runs, Settings({}), jobs) for jobs in (1, 2))
    assert [o.predicted.metrics for o in one] == [o.predicted.metrics for o in two]
    assert [o.run for o in two] == runs


def test_who_comes_into_a_stall_waits_for_its_end() -> None:
    found = Stalls(np.array([2.0, 5.0]), np.array([1.0, 0.5]))
    at_s = np.array([0.0, 2.0, 2.4, 3.5, 5.25, 9.0])
    assert found.delay_s(at_s).tolist() == pytest.approx([0, 1, 0.6, 0, 0.25, 0])


def test_merged_tokens_are_those_of_long_stalls_in_small_batches() -> None:
    found = Stalls(np.array([0.0, 8.0]), np.array([0.0, 2.0]))
    small, large = pd.DataFrame({"running": [9, 9]}), pd.DataFrame({"running": [9, 991]})
    assert found.merged_share(0.5, small) == pytest.approx(0.15)
    assert found.merged_share(0.5, large) == pytest.approx(0.15 * 0.009)
    assert found.merged_share(3.0, small) == 0


def test_polls_take_longer_the_more_combinations_of_adapters_there_were() -> None:
    quiet, busy = _requests(gap_s=2.0), _requests(gap_s=0.5)
    spans = [stalls(requests, 400.0, 0.02).length_s.mean() for requests in (quiet, busy)]
    assert 2 < spans[1] / spans[0] < 20
    # An adapter of its own for each request: it becomes active and idle again, 16 us each time.
    assert stalls(quiet, 400.0, 0.02).length_s[-1] == pytest.approx(2 * 200 * 16e-6, rel=0.1)


def test_the_first_request_of_an_adapter_waits_for_its_tokenizer() -> None:
    requests = _requests(gap_s=1.0, adapters=2)
    seen = seen_ttft_s(requests, Stalls(np.array([0.0]), np.array([0.0])))
    assert seen[:2] == pytest.approx([0.1 + FIRST_USE_S] * 2)
    assert seen[2:] == pytest.approx(0.1)


def _requests(gap_s: float, adapters: int = 1000) -> pd.DataFrame:
    """Requests of half a second each, dealt out to adapters in turn."""
    arrival_s = np.arange(0, 400, gap_s)
    names = [f"a{i % adapters}" for i in range(len(arrival_s))]
    return pd.DataFrame(
        {
            "adapter": pd.Categorical(names),
            "arrival_s": arrival_s,
            "finish_s": arrival_s + 0.5,
            "ttft_s": 0.1,
        }
    )


def test_the_command_prints_every_figure_and_writes_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "runs.csv", {}, REFUSED)
    arguments = ["validate", "--recipe", "bsc", str(table), "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "throughput, median error" in printed
    assert "infeasible starts found" in printed
    out = tmp_path / "out"
    figures = json.loads((out / "fidelity.json").read_text("utf-8"))
    assert figures["infeasible"]["caught"] == 1
    assert len(pd.read_parquet(out / "predictions.parquet")) == 2
    assert (out / "scatter.png").stat().st_size > 10_000
    html = (out / "fidelity.html").read_text("utf-8")
    assert html.count("<svg") == 1
    assert "http" not in html.replace("http://www.w3.org", "")


@pytest.mark.parametrize(("predicted", "measured"), [(1.0, 1e-320), (1.0, 0.0), (None, 1.0)])
def test_where_no_relative_error_can_be_told_there_is_none(
    predicted: float | None, measured: float
) -> None:
    assert Comparison("latency", predicted, measured).error is None


def test_two_results_are_compared_figure_by_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = Path(__file__).parents[3] / "scenarios" / "vllm-slots.yaml"
    fast = ["--set", "workload.duration_s=20", "--no-report"]
    for name, rate in (("a", 2), ("b", 4)):
        out = ["--out", str(tmp_path / name), "--set", f"workload.rate_rps={rate}"]
        assert main(["run", str(scenario), *fast, *out]) == 0
    capsys.readouterr()
    directories = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["validate", *directories, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    entry = found["latency.ttft_s.p99"]
    assert entry["error"] == pytest.approx(entry["predicted"] / entry["measured"] - 1)
    assert main(["validate", *directories]) == 0
    assert "latency.ttft_s.p99" in capsys.readouterr().out


def test_a_table_of_refusals_alone_has_a_report(tmp_path: Path) -> None:
    table = write_table(tmp_path / "runs.csv", REFUSED)
    out = tmp_path / "out"
    assert main(["validate", "--recipe", "bsc", str(table), "--out", str(out)]) == 0
    assert "nothing to compare" in (out / "fidelity.html").read_text("utf-8")


def test_a_hold_out_of_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path / "runs.csv", {}, REFUSED)
    assert main(["validate", "--recipe", "bsc", str(table), "--holdout", "0.0001"]) == 2
    said = "error: --holdout 0.0001 leaves none of the 2 configurations"
    assert said in capsys.readouterr().err


def test_a_profile_of_other_hardware_is_scaled_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = load_profile("vllm-0.8.5-h100-64gb-llama-3.1-8b")
    narrow = profile.holds_for | {"slots": (100.0, 192.0), "max_rank": (8.0, 8.0)}
    other = profile.model_copy(update={"gpu": "a100-80gb", "holds_for": narrow})
    path = tmp_path / "a100.json"
    path.write_text(other.model_dump_json(), "utf-8")
    table = write_table(tmp_path / "runs.csv", {}, REFUSED)
    out = tmp_path / "out"
    arguments = ["validate", "--recipe", "bsc", str(table), "--profile", str(path)]
    assert main([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr()
    warning = f"warning: --profile {path} was measured on a100-80gb, llama-3.1-8b, but the runs on "
    assert warning + "h100-64gb: its times are scaled by the roofline" in printed.err
    told = (
        "1 of 2 runs goes beyond the range of its profile (in slots, max rank)",
        "The times of 1 run are scaled by the roofline, from a100-80gb, llama-3.1-8b",
    )
    page = (out / "fidelity.html").read_text("utf-8")
    for sentence in told:
        assert sentence in " ".join(printed.out.split())
        assert sentence in page
    figures = json.loads((out / "fidelity.json").read_text("utf-8"))
    assert figures["extrapolating_runs"] == figures["scaled_runs"] == 1
    assert figures["extrapolates"] == {"slots": 1, "max_rank": 1}
    assert figures["scaled_from"] == ["a100-80gb, llama-3.1-8b"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scaled_runs"] == 1


def test_published_runs_of_s_lora(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "runs.csv"
    table.write_text(
        "method,setting,gpu,base_model,adapter_ranks,num_adapters,alpha,req_rate_rps,cv,duration_s,"
        "input_tokens_range,output_tokens_range,launch_num_token_pool,throughput_rps,avg_latency_s,"
        "avg_first_token_latency_s\n"
        "slora,S1,A100 80GB,llama-7b,8,4,1,2,1,20,8|64,8|64,125000,1.9,2.5,0.2\n"
    )
    arguments = ["validate", "--recipe", "s-lora", str(table)]
    assert main(arguments) == 0
    assert "0 of 1 runs beyond the profile's range, 0 scaled" in capsys.readouterr().out
    assert main([*arguments, "--json", "--profile", "s-lora-a10g-llama-2-7b"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["all"]["scaled_runs"] == 1
    assert "was measured on a10g, llama-2-7b, but the runs on a100-80gb" in printed.err
    assert main([*arguments, "--profile", "s-lora"]) == 2
    assert "no timing profile" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "two result directories are needed"),
        (["a", "b", "--holdout", "0.5"], "without --recipe there is no use for --holdout"),
        (["a", "b", "--seed", "0", "--jobs", "1"], "no use for --jobs and --seed"),
        (["a", "b", "--profile", "p", "--full-windows"], "no use for --profile and --full-windows"),
        (["--recipe", "s-lora", "x.csv", "--jobs", "2"], "--recipe s-lora has no use for --jobs"),
        (["--recipe", "s-lora", "x.csv", "--seed", "0"], "--recipe s-lora has no use for --seed"),
        (["--recipe", "s-lora", "x", "--profile", "a", "--profile", "b"], "takes one --profile"),
        (["a", "b"], "a: does not exist"),
        (["--recipe", "bsc", "a", "b"], "--recipe takes one table of runs"),
        (["--recipe", "bsc", "none.csv"], "none.csv: cannot be read"),
        (["--recipe", "bsc", "x.csv", "--holdout", "2"], "2.0 is not in the range"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
