"""`simlora calibrate`, from files to a profile that a run uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simlora
from simlora.calibration.design import rows_of_steps
from simlora.cli.calibrate import calibrate
from simlora.cli.errors import exit_code
from simlora.scenario.deployment import expand
from simlora.serving.batch_shape import BatchShape
from simlora.timing import make_timing
from simlora.timing.parameters import LoadParameters, StepParameters
from simlora.timing.profile import Profile, Provenance, load_profile
from tests.measurements import STEP_BINS, needs
from tests.unit.calibration.measuring import shapes, write_table

TRUTH = StepParameters(
    fixed_s=8e-3,
    token_s=20e-6,
    decode_attended_s=1e-6,
    adapter_s=0.5e-3,
    lora_token_slot_s=2e-6,
    scan_s=5e-6,
)
LOAD = LoadParameters(latency_s=3e-3, bytes_per_s=20e9)
OVERHEAD_S = 0.02
SERVER = ("--gpu", "a10g", "--model", "tiny-llama")
SCENARIO = """\
name: tiny
model: tiny-llama
fleet: [{gpu: a10g}]
tenants: [{name: team, count: 12, adapter: {rank: 8}}]
workload:
  duration_s: 30
  rate_rps: 6
  prompt_tokens: {lognormal: {mean: 100, sigma: 0.6, min: 4, max: 500}}
  output_tokens: {lognormal: {mean: 60, sigma: 0.5, min: 4, max: 300}}
engine:
  preset: vllm-0.8.5
  max_model_len: 1024
  memory: {max_loras: 8, max_lora_rank: 8}
  max_cpu_loras: 12
  prefix_cache: {enabled: false}
adapters: {initial_tier: warm}
"""


def run_command(*arguments: object) -> int:
    texts = [str(argument) for argument in arguments]
    return exit_code(lambda: calibrate.main(texts, standalone_mode=False))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a server that is a simulation with TRUTH, in `runs.csv`, and `loads.csv`."""
    directory = tmp_path_factory.mktemp("server")
    truth = Profile(
        name="truth",
        server="a simulation",
        gpu="a10g",
        model="tiny-llama",
        preset="vllm-0.8.5",
        padded=True,
        step=TRUTH,
        load=LOAD,
        request_overhead_s=OVERHEAD_S,
        provenance=Provenance(source="made up", rows=0, date="2000-01-01", simlora="0"),
    )
    (directory / "truth.json").write_text(truth.model_dump_json(), encoding="utf-8")
    (directory / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    rows = []
    for rate in (1, 4, 8, 14):
        for slots in (2, 6, 12):
            settings = {"workload.rate_rps": rate, "engine.memory.max_loras": slots}
            profile = {"timing.profile": str(directory / "truth.json")}
            scenario = simlora.load_scenario(directory / "tiny.yaml", settings | profile)
            summary = simlora.simulate(scenario).summary
            throughput = summary["throughput"]
            rows.append(
                {
                    "scenario": "tiny.yaml",
                    **settings,
                    "tpot_mean_ms": summary["latency"]["tpot_s"]["mean"] * 1e3,
                    "ttft_mean_s": summary["latency"]["ttft_s"]["mean"],
                    "total_tokens_per_s": throughput["input_tokens_per_s"]
                    + throughput["output_tokens_per_s"],
                }
            )
    write_table(directory / "runs.csv", rows)
    sizes = (1e6, 4e6, 20e6)
    write_table(
        directory / "loads.csv",
        [{"load_s": LOAD.latency_s + size / LOAD.bytes_per_s, "bytes": size} for size in sizes],
    )
    return directory


def step_table(path: Path) -> Path:
    sizes = shapes(150)
    seconds = rows_of_steps(sizes, np.ones(150), np.ones(150)).predict(TRUTH)
    names = ("decode_attended_tokens", "prefill_attended_tokens", "passed_over", "lora_tokens")
    return write_table(
        path,
        [
            {
                "step_ms": seconds[row] * 1e3,
                "decode_seqs": sizes.tokens[row],
                "slots": sizes.slots[row],
                "distinct_adapters": sizes.distinct_adapters[row],
                **{name: getattr(sizes, name)[row] for name in names},
            }
            for row in range(150)
        ],
    )


def test_steps_become_a_profile(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = step_table(tmp_path / "steps.csv")
    out = tmp_path / "mine.json"
    assert run_command("--from", table, "--out", out, *SERVER, "--server", "mine 1.0") == 0
    profile = load_profile(out)
    for name, true in TRUTH.model_dump().items():
        assert getattr(profile.step, name) == pytest.approx(true, rel=0.02, abs=1e-12), name
    assert (profile.name, profile.server, profile.padded) == ("mine", "mine 1.0", True)
    assert profile.holds_for["slots"] == (8, 300)
    assert profile.error["step_median"] < 1e-3
    assert profile.provenance.rows == 150
    printed, told = capsys.readouterr()
    assert "error on measurements left out of the fit" in printed
    assert "error of the fit itself" in printed
    assert "cannot be told from token_s" in printed
    assert "warning: the measurements do not tell max_rank, so a run that goes beyond" in told


def test_an_adapter_in_a_padded_slot_costs_what_was_measured(tmp_path: Path) -> None:
    """Whatever modules the adapters have, a slot has all of its rank: what is simulated takes as
    long as what was measured."""
    rows: list[dict[str, float]] = [
        {
            "step_s": 0.01 + 2e-5 * seqs + distinct * (1e-4 + 2e-5 * rank),
            "decode_seqs": seqs,
            "distinct_adapters": distinct,
            "rank": rank,
            "slots": 8,
        }
        for seqs in (8, 20, 64)
        for distinct in (0, 2, 5, 8)
        for rank in (8, 16)
    ]
    table, out = write_table(tmp_path / "steps.csv", rows), tmp_path / "p.json"
    assert run_command("--from", table, "--out", out, *SERVER, "--targets", "attention") == 0
    (tmp_path / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    asked = {
        "timing.profile": str(out),
        "tenants.0.adapter.targets": "attention",
        "tenants.0.adapter.rank": 8,
        "engine.memory.max_lora_rank": 16,
    }
    deployment = expand(simlora.load_scenario(tmp_path / "tiny.yaml", asked))
    timing = make_timing(deployment, 0)
    own = deployment.adapters[0].rank * deployment.model.lora_parameters(1, "attention")
    for row in rows:
        seqs, distinct = int(row["decode_seqs"]), int(row["distinct_adapters"])
        if row["rank"] == 16:
            shape = BatchShape(
                decode_seqs=seqs,
                lora_tokens=seqs if distinct else 0,
                lora_token_parameters=seqs * own if distinct else 0,
                distinct_adapters=distinct,
                distinct_adapter_parameters=distinct * own,
            )
            assert timing.step(shape) == pytest.approx(row["step_s"], rel=1e-3)


def test_what_was_fitted_is_no_error_of_a_profile(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Too few steps to leave some out, loads of two sizes, and capacities that no profile holds."""
    steps = [{"step_s": 0.01 + 1e-5 * seqs, "decode_seqs": seqs} for seqs in (1, 8, 30, 64)]
    slots = [(1, 8), (8, 8), (8, 16)]
    tables = {
        "steps": steps,
        "loads": [{"load_s": 2e-3 + size / 10e9, "bytes": size} for size in (1e6, 1e6, 4e6, 4e6)],
        "kv": [{"kv_tokens": 9e4 - 9 * n * rank, "slots": n, "rank": rank} for n, rank in slots],
    }
    files = [
        part
        for name, rows in tables.items()
        for part in ("--from", write_table(tmp_path / f"{name}.csv", rows))
    ]
    out = tmp_path / "p.json"
    assert run_command(*files, "--out", out, *SERVER) == 0
    printed, told = capsys.readouterr()
    assert load_profile(out).error == {}
    assert "left out of the fit" not in printed and "error of the fit itself" in printed
    assert "kv tokens" in printed
    assert "warning: too few measurements to cross-validate" in told
    assert run_command(*files, "--out", out, *SERVER, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["errors"] == {} and not result["cross_validated"]
    assert set(result["residuals"]) == {"step", "load", "kv_tokens"}


def test_loads_that_were_left_out_have_their_error_in_the_profile(tmp_path: Path) -> None:
    table, out = step_table(tmp_path / "steps.csv"), tmp_path / "p.json"
    sizes = (1e6, 4e6, 20e6, 40e6)
    rows = [{"load_s": 2e-3 + size / 10e9, "bytes": size} for size in sizes]
    loads = write_table(tmp_path / "loads.csv", rows)
    assert run_command("--from", table, "--from", loads, "--out", out, *SERVER) == 0
    assert load_profile(out).error.keys() == {
        f"{name}_{kind}" for name in ("step", "load") for kind in ("median", "smape")
    }


def test_times_in_mixed_units_are_told_with_their_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"step_s": 0.01 + 1e-4 * seqs, "decode_seqs": seqs} for seqs in range(1, 41)]
    for row in rows[10:30]:
        row["step_s"] *= 1000
    table = write_table(tmp_path / "steps.csv", rows)
    assert run_command("--from", table, "--out", tmp_path / "p.json", *SERVER) == 0
    told = capsys.readouterr().err
    named = ", ".join(f"{table}:{line}" for line in range(12, 17))
    assert f"warning: {named} and 15 more: about 1,000 times as long as the other" in told
    assert "warning: DO NOT TRUST THIS PROFILE: half of the measurements are missed by" in told


def test_when_all_is_given_the_measurements_only_judge(tmp_path: Path) -> None:
    table, out = step_table(tmp_path / "steps.csv"), tmp_path / "p.json"
    fixed = [part for name, value in TRUTH for part in ("--fix", f"{name}={value}")]
    assert run_command("--from", table, "--out", out, *SERVER, *fixed) == 0
    profile = load_profile(out)
    assert profile.step == TRUTH
    assert profile.error["step_median"] < 1e-6


def test_runs_are_predicted_by_what_was_fitted_to_them(
    server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fitted.json"
    files = ("--from", server / "runs.csv", "--from", server / "loads.csv")
    assert run_command(*files, "--out", out, *SERVER, "--passes", 10, "--json") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["cross_validated"] and told["rows"]["runs"] == 12
    assert told["residuals"]["time_per_token"]["median"] < 0.005
    for metric in ("tpot", "throughput"):
        assert told["errors"][metric]["median"] < 0.02
    assert told["errors"]["ttft_underloaded"]["median"] < 0.1
    profile = load_profile(out)
    # What every run tells, within what so few of them can tell of it.
    assert profile.step.fixed_s == pytest.approx(TRUTH.fixed_s, rel=0.03)
    assert profile.step.adapter_s == pytest.approx(TRUTH.adapter_s, rel=0.1)
    assert profile.load is not None
    assert profile.load.latency_s == pytest.approx(LOAD.latency_s)
    assert profile.request_overhead_s == pytest.approx(OVERHEAD_S, rel=0.2)
    unknown = {one["name"] for one in told["figures"] if one["status"] == "unknown"}
    assert {"lora_step_s", "lora_token_s", "adapter_parameter_s"} <= unknown
    assert profile.holds_for["slots"] == (2, 12)


def test_runs_and_steps_together_recover_the_figures(server: Path, tmp_path: Path) -> None:
    table, out = step_table(tmp_path / "steps.csv"), tmp_path / "both.json"
    files = ("--from", table, "--from", server / "runs.csv", "--from", server / "loads.csv")
    assert run_command(*files, "--out", out, *SERVER, "--passes", 3, "--jobs", 2) == 0
    step = load_profile(out).step
    for name in ("fixed_s", "token_s", "adapter_s", "lora_token_slot_s", "scan_s"):
        assert getattr(step, name) == pytest.approx(getattr(TRUTH, name), rel=0.05), name


def test_a_scenario_runs_with_the_profile(tmp_path: Path) -> None:
    table, out = step_table(tmp_path / "steps.csv"), tmp_path / "mine.json"
    assert run_command("--from", table, "--out", out, *SERVER) == 0
    (tmp_path / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    scenario = simlora.load_scenario(tmp_path / "tiny.yaml", {"timing.profile": str(out)})
    assert simlora.simulate(scenario).summary["requests"]["completed"] > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--fix", "fixd_s=1"), 'error: --fix: no figure "fixd_s": did you mean fixed_s?'),
        (("--fix", "fixed_s=-1"), "error: --fix: fixed_s: must be seconds of at least 0"),
        (("--fix", "fixed_s=61"), "error: --fix: fixed_s: must be at most 60, not 61"),
        (("--map", "step_s"), "error: --map takes NAME=VALUE, not 'step_s'"),
        (("--gpu", "h1000"), 'error: no GPU "h1000"'),
        (("--preset", "vllm"), 'error: --preset: no preset "vllm": did you mean vllm-0.8.5'),
        (("--out", "absent/p.json"), "error: --out: absent/p.json cannot be written"),
        (("--out", "my profile.json"), "error: --out: the profile is named like its file, and a "),
        (("--out", ".json"), "error: --out: the profile is named like its file, and a name must "),
        (("--name", "a b!"), "error: --name: must be made of letters, digits, dots, dashes and un"),
        (("--name", ""), "error: --name: must be made of letters, digits, dots, dashes and unders"),
        (("--name", "x" * 65), "error: --name: must have at most 64 characters, not 65"),
        (("--from", "absent.json"), "error: absent.json: no such file"),
    ],
)
def test_mistakes_on_the_command_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    table = step_table(tmp_path / "steps.csv")
    given = ("--from", table, "--out", tmp_path / "p.json", *SERVER, *arguments)
    assert run_command(*given) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(sentence) and complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("scenario,tpot_mean_s\nabsent.yaml,0.1\n", "runs.csv:2: "),
        ("scenario,tpot_mean_s\ntiny.yaml,\n", "neither tpot_mean_s nor itl_mean_s was measured"),
        ("scenario,tpot_mean_s,fleet.0.replicas\ntiny.yaml,0.1,2\n", "a run to fit has one repl"),
        ("scenario,tpot_mean_s,fleet.0.gpu\ntiny.yaml,0.1,l40s\n", "the scenario has gpu l40s"),
        ("scenario,tpot_mean_s\ntiny.yaml,0.1\n", "1 measurements (1 different) cannot determine"),
        ("load_s,bytes\n0.1,5\n", "a profile needs steps or runs; the files have neither"),
    ],
)
def test_mistakes_in_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: str, sentence: str
) -> None:
    (tmp_path / "tiny.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "runs.csv").write_text(rows, encoding="utf-8")
    assert run_command("--from", tmp_path / "runs.csv", "--out", tmp_path / "p.json", *SERVER) == 2
    assert sentence in capsys.readouterr().err


@needs(STEP_BINS)
def test_published_step_measurements(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The recipe of docs/measurements.md: vLLM 0.8.5, Llama-3.1-8B, H100, 300 slots."""
    names = {
        "step_ms": "step_period_median_ms",
        "decode_seqs": "batched_tokens_mean",
        "distinct_adapters": "unique_adapters_mean",
        "slots": "max_loras_slots",
        "rank": "max_lora_rank",
        "weight": "n_steps",
    }
    out = tmp_path / "h100.json"
    mapped = [part for ours, theirs in names.items() for part in ("--map", f"{ours}={theirs}")]
    code = run_command(
        *("--from", STEP_BINS),
        *("--where", "base_model=llama-3.1-8b-instruct"),
        *mapped,
        *("--gpu", "h100-64gb", "--model", "llama-3.1-8b", "--out", out),
    )
    assert code == 0
    profile = load_profile(out)
    assert profile.step.adapter_s == pytest.approx(0.33e-3, rel=0.1)
    assert profile.step.fixed_s == pytest.approx(12.5e-3, rel=0.15)
    assert profile.error["step_median"] < 0.02
    assert "lora_slot_s" in capsys.readouterr().out
