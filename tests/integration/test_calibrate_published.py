"""`simlora calibrate --recipe`: a profile from a table of published runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simlora.calibration import published
from simlora.calibration.published import published_runs
from simlora.cli.main import main
from simlora.errors import UserError
from simlora.timing.parameters import StepParameters
from simlora.timing.profile import load_profile
from simlora.validation.predict import Client, predict
from simlora.validation.recipe import scenario_of
from simlora.validation.rows import held_out, read_runs
from tests.unit.validation.runs import REFUSED, write_table

TRUTH = StepParameters(fixed_s=0.012, token_s=2e-5, adapter_s=4e-4, lora_token_slot_s=5e-7)
CAP = 60
# Rates and slots such that the last one ends at the client's cap.
LOADS = (
    ("2", "0.1"),
    ("8", "0.4"),
    ("8", "1"),
    ("32", "0.5"),
    ("64", "1"),
    ("16", "4"),
    ("48", "6"),
)
ASKED = [
    {"config_id": str(number), "max_loras_slots": slots, "adapter_rate_list_rps": rate}
    for number, (slots, rate) in enumerate(LOADS)
]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shipped = load_profile("vllm-0.8.5-h100-64gb-llama-3.1-8b")
    path = tmp_path_factory.mktemp("truth") / "truth.json"
    made = shipped.model_copy(update={"step": TRUTH, "request_overhead_s": 0.0})
    path.write_text(made.model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def table(truth: Path) -> Path:
    """Runs of a server that is a simulation with TRUTH, measured by a client with a low cap."""
    client = Client(cap=CAP, monitored=True)
    rows = []
    for asked in ASKED:
        window = {"window_s": "700" if float(asked["adapter_rate_list_rps"]) > 2 else "60"}
        run = read_runs(write_table(truth.parent / "one.csv", asked | window))[0]
        measured = predict(scenario_of(run, str(truth)), client, shorten=False).metrics
        rows.append(
            asked
            | window
            | {
                "mean_tpot_ms": str(1e3 * measured["tpot_mean_s"]),
                "mean_itl_ms": str(1e3 * measured["itl_mean_s"]),
                "mean_ttft_ms": str(1e3 * measured["ttft_mean_s"]),
                "total_throughput_tps": str(measured["total_tokens_per_s"]),
                "request_throughput_rps": str(measured["requests_per_s"]),
            }
        )
    return write_table(truth.parent / "runs.csv", *rows, REFUSED | {"config_id": "99"})


def test_published_runs_give_the_figures_back_that_made_them(
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(published, "client_of", lambda run: Client(cap=CAP, monitored=True))
    out = tmp_path / "fit.json"
    arguments = ["calibrate", "--recipe", "bsc", str(table), "--out", str(out), "--passes", "6"]
    arguments += ["--gpu", "h100-64gb", "--model", "llama-3.1-8b", "--name", "again"]
    for absent in ("decode_attended_s", "sequence_s", "prefill_attended_s", "scan_s"):
        arguments += ["--fix", f"{absent}=0"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    fitted = load_profile(out)
    assert fitted.provenance.rows == len(ASKED)
    assert fitted.provenance.source == "runs.csv"
    step = fitted.step
    # What one token in a quiet server costs, and what adapters cost in a busy one.
    assert step.fixed_s + step.lora_step_s == pytest.approx(TRUTH.fixed_s, rel=0.1)
    assert told["residuals"]["tpot"]["median"] < 0.05
    assert fitted.error == {}  # so few runs are all fitted to
    busy = 64 * step.lora_token_slot_s + step.lora_token_s + step.token_s
    assert busy == pytest.approx(64 * TRUTH.lora_token_slot_s + TRUTH.token_s, rel=0.25)


def test_runs_that_are_left_out_are_those_that_validate_judges(table: Path) -> None:
    everything = published_runs(table, "llama-3.1-8b", 0.0, 0)
    kept = published_runs(table, "llama-3.1-8b", 0.4, 3)
    judged = [run for run in held_out(read_runs(table), 0.4, 3) if run.feasible]
    assert judged
    assert len(kept) + len(judged) == len(everything) == len(ASKED)  # the refused one tells no time
    names = {run.scenario.name for run in kept}
    assert names.isdisjoint(f"bsc-{run.config_id}" for run in judged)


def test_a_model_without_runs_is_told(table: Path) -> None:
    with pytest.raises(UserError, match=r"runs\.csv: has no run of qwen2\.5-7b to fit to"):
        published_runs(table, "qwen2.5-7b", 0.0, 0)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--from", "x.csv", "--holdout", "0.3"), "--holdout needs --recipe"),
        (("--recipe", "bsc", "none.csv"), "none.csv: cannot be read"),
        (("--recipe", "slora", "none.csv"), "'slora' is not 'bsc'"),
    ],
)
def test_a_wrong_request_is_one_sentence(
    options: tuple[str, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = ("--gpu", "h100-64gb", "--model", "llama-3.1-8b", "--out", str(tmp_path / "p.json"))
    assert main(["calibrate", *options, *server]) == 2
    said = capsys.readouterr().err
    assert told in said and len(said.strip().splitlines()) == 1
    assert not (tmp_path / "p.json").exists()
