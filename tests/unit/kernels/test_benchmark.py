"""The benchmark: what it counts, checks and judges."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kernels import torch_ops, triton_ops
from kernels.benchmark import __main__ as command
from kernels.benchmark.adapters import Adapters
from kernels.benchmark.attention_cases import decode_cases, prefill_cases
from kernels.benchmark.bars import StepShares, judge
from kernels.benchmark.case import Case, WrongResult, check
from kernels.benchmark.device import DeviceFacts
from kernels.benchmark.elementwise_cases import elementwise_cases
from kernels.benchmark.lora_cases import EMPTY, GATHER_BMM, LOOP, LoraCases
from kernels.benchmark.plan import FULL, QUICK, Setting
from kernels.benchmark.results import Result
from kernels.benchmark.timing import Times
from kernels.benchmark.work import Work, attention_work, lora_step_work, lora_work
from kernels.shapes import GROUPS, SHAPES

LLAMA = SHAPES["llama-3.1-8b"]
SMALL = replace(SHAPES["tiny-llama"], num_hidden_layers=1)
SETTING = Setting(SMALL, torch_ops, torch.device("cpu"), torch.float32, QUICK)
FACTS = DeviceFacts("made up", "bfloat16", 4e12, 800e12, 1.0, "", "")  # 4 MB a microsecond


def result(case: Case, us: float, **others_us: float) -> Result:
    return Result.of(case, Times(us, us, us, 3), 0.0, others_us)


# --- the command ------------------------------------------------------------------------


def test_a_quick_run_on_the_cpu_measures_everything_and_writes_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == 0
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").open()]
    assert {line["kind"] for line in lines} == {
        "lora_step", "lora_decode", "lora_prefill", "paged_decode", "paged_prefill", "elementwise"
    }  # fmt: skip
    assert all(line["median_us"] > 0 and line["error"] < 1e-4 for line in lines)
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["median_us"]) for row in rows] == [line["median_us"] for line in lines]
    assert json.loads((tmp_path / "device.json").read_text())["model"] == "tiny-llama"
    assert (tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "failures.txt").exists()
    told = capsys.readouterr().out
    assert (tmp_path / "bars.txt").read_text() in told
    assert "here they say nothing" in (tmp_path / "bars.txt").read_text()
    assert told.count("not judged") == 6
    assert "NOT MET" not in told
    assert "left out" not in told


def test_what_is_over_budget_is_left_out_and_without_matplotlib_there_is_no_plot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    clock = iter([0.0, 0.0, 9.9])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(clock, 10.1))
    arguments = ["--device", "cpu", "--quick", "--budget", "10", "--out", str(tmp_path)]
    assert command.main(arguments) == 0
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 2
    told = capsys.readouterr().out
    assert "35 cases left out: the budget of 10 s was spent" in told
    assert "no roofline.png: matplotlib is not installed" in told
    assert told.count("not measured") == 4


def test_a_wrong_result_is_not_timed_and_fails_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch_ops.silu_mul
    calls = iter(range(100))

    def silu_mul(gate_up: torch.Tensor, out: torch.Tensor) -> None:
        right(gate_up, out)
        if next(calls) == 1:  # the first one is the reference
            out[0, 0] += 0.1

    monkeypatch.setattr(torch_ops, "silu_mul", silu_mul)
    assert command.main(["--device", "cpu", "--quick", "--out", str(tmp_path)]) == 1
    message = "elementwise silu_mul: 8 tokens: WrongResult: the kernel is off by "
    assert (tmp_path / "failures.txt").read_text().startswith(message)
    told = capsys.readouterr().out
    assert f"FAILED {message}" in told
    assert "FAILED: 1, see " in told
    assert "silu_mul" not in (tmp_path / "results.csv").read_text()


def test_the_shape_comes_from_a_config_json(tmp_path: Path) -> None:
    config = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "head_dim": None,
        "model_type": "llama",
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    shape = command.read_shape(path)
    assert (shape.head_dim, shape.num_key_value_heads, shape.num_hidden_layers) == (16, 4, 3)
    arguments = ["--device", "cpu", "--config", str(path), "--out", str(tmp_path)]
    assert command.parse(arguments).name == tmp_path.name


def test_null_in_a_config_json_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    config = dict.fromkeys(("num_key_value_heads", "head_dim", "rope_theta", "attention_bias"))
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
    path.write_text(json.dumps(config | sizes | {"num_attention_heads": 4, "vocab_size": 100}))
    shape = command.read_shape(path)
    assert (shape.head_dim, shape.num_key_value_heads, shape.rope_theta) == (16, 4, 10_000.0)
    assert shape.attention_bias is False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--config", "nowhere.json"], "--config nowhere.json: [Errno 2] No such file"),
        (
            ["--config", "{config}"],
            "it lacks intermediate_size, num_hidden_layers, vocab_size",
        ),
        (["--model", "gpt-2"], "invalid choice: 'gpt-2'"),
    ],
)
def test_a_model_that_is_none_is_refused_in_a_sentence(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"hidden_size": 64, "num_attention_heads": 4}')
    with pytest.raises(SystemExit):
        command.parse(["--device", "cpu", *(each.format(config=config) for each in arguments)])
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("[]", "it is not a JSON object"),
        ("3", "it is not a JSON object"),
        ('{"hidden_size": "64"}', "hidden_size must be a whole number, not '64'"),
        ('{"num_hidden_layers": true}', "num_hidden_layers must be a whole number, not True"),
        ('{"head_dim": 64.5}', "head_dim must be a whole number, not 64.5"),
        ('{"num_attention_heads": [4]}', "num_attention_heads must be a whole number, not [4]"),
        ('{"num_key_value_heads": 0}', "num_key_value_heads must be at least 1, not 0"),
        (
            '{"num_attention_heads": 0, "num_key_value_heads": 1, "head_dim": 16}',
            "num_attention_heads must be at least 1, not 0",
        ),
        ('{"num_attention_heads": 128, "num_key_value_heads": 8}', "head_dim must be at least 1"),
        ('{"rope_theta": "1e4"}', "rope_theta must be a number, not '1e4'"),
        ('{"attention_bias": "no"}', "attention_bias must be true or false, not 'no'"),
        ("{", "Expecting property name"),
    ],
)
def test_a_config_json_that_is_none_is_refused_in_a_sentence(
    config: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
    sizes |= {"num_attention_heads": 4, "vocab_size": 100}
    if config.startswith('{"'):
        config = json.dumps(sizes | json.loads(config))
    path = tmp_path / "config.json"
    path.write_text(config)
    with pytest.raises(SystemExit) as refused:
        command.parse(["--device", "cpu", "--config", str(path)])
    assert refused.value.code == 2
    assert f"--config {path}: {told}" in capsys.readouterr().err


@pytest.mark.parametrize("budget", ["-1", "nan", "-inf", "soon"])
def test_a_budget_that_is_no_time_is_refused_in_a_sentence(
    budget: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        command.parse(["--device", "cpu", f"--budget={budget}"])
    assert refused.value.code == 2
    told = f"argument --budget: must be 0 or more seconds, not {budget}"
    assert capsys.readouterr().err.endswith(told + "\n")


@pytest.mark.parametrize("below", ["", "below", "a/b"])
def test_a_folder_that_cannot_be_written_to_is_refused_in_a_sentence(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / below
    with pytest.raises(SystemExit) as refused:
        command.parse(["--device", "cpu", "--quick", "--out", str(out)])
    assert refused.value.code == 2
    assert f"error: --out {out}: " in capsys.readouterr().err


def test_a_folder_without_leave_to_write_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(command, "TemporaryFile", refuse)
    with pytest.raises(SystemExit) as refused:
        command.main(["--device", "cpu", "--quick", "--out", str(tmp_path)])
    assert refused.value.code == 2
    assert f"error: --out {tmp_path}: Permission denied\n" in capsys.readouterr().err


# --- counting ---------------------------------------------------------------------------


def test_bytes_and_flops_of_a_group_are_those_counted_by_hand() -> None:
    # Two adapters, of ranks 16 and 64, with 3 tokens and 1, on q (4096 x 4096), k and v (4096 x
    # 1024) in bfloat16.
    parameters = (4096 + 4096) + (4096 + 1024) + (4096 + 1024)  # of rank 1: 18432
    weights = (16 + 64) * parameters * 2
    x, y = 4 * 4096 * 2, 4 * (4096 + 1024 + 1024) * 2
    work = lora_work(LLAMA, "qkv", [16, 64], [3, 1], 2)
    assert work == Work(
        bytes=weights + x + 2 * y,  # y is read and written
        flops=2 * parameters * (3 * 16 + 1 * 64),
        launches=2,
    )
    assert work.bytes == 2_949_120 + 32_768 + 98_304


def test_a_step_is_all_groups_of_all_layers_and_the_sorting_of_its_tokens() -> None:
    step = lora_step_work(LLAMA, [16], [64], 2)
    groups = [lora_work(LLAMA, group, [16], [64], 2) for group in GROUPS]
    assert step.bytes == 32 * sum(group.bytes for group in groups)
    assert step.launches == 32 * 4 * 2 + 2


def test_a_chunk_of_prefill_attends_what_came_before_and_half_of_itself() -> None:
    work = attention_work(LLAMA, contexts=[5], queries=[3], element_bytes=2)
    assert work.flops == 4 * 4096 * (3 + 4 + 5)
    assert work.bytes == 2 * (2 * 5 * 1024 + 2 * 3 * 4096)


# --- results ----------------------------------------------------------------------------


def small_cases(setting: Setting) -> Iterator[Case]:
    lora = LoraCases(setting)
    yield from lora.compared()
    yield from list(lora.prefills())[:1]
    yield from list(lora.decodes())[-2:]  # mixed ranks
    yield from lora.steps()
    yield from decode_cases(setting)
    yield from prefill_cases(setting)
    yield from elementwise_cases(setting)


@pytest.mark.skipif(torch.cuda.is_available(), reason="would interpret, and here they compile")
def test_triton_kernels_take_what_the_benchmark_gives_them_and_agree() -> None:
    setting = replace(SETTING, ops=triton_ops)
    assert all(check(case.prepare()) < 1e-5 for case in small_cases(setting))


@pytest.mark.parametrize("name", [GATHER_BMM, LOOP])
def test_torch_s_ways_compute_what_the_kernels_compute(name: str) -> None:
    for case in LoraCases(SETTING).compared():
        prepared = case.prepare()
        (y,) = prepared.outputs
        before = y.clone()
        prepared.run()
        expected = y.clone()
        y.copy_(before)
        prepared.baselines[name]()
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        assert (y - before).abs().mean() > 0.3  # what was added is as large as what was there


def test_weights_side_by_side_are_those_in_the_pages_also_with_mixed_ranks() -> None:
    adapters = Adapters(SETTING, (2, 8), layers=1)
    inner, outer = SMALL.linear_shapes["down_proj"]
    ((a, b, scale),) = adapters.stacked("down", 2)
    assert a.shape == (2, 8, inner)
    assert b.shape == (2, 8, outer)
    for slot, rank in enumerate((2, 8)):
        stream = adapters.pages[adapters.tables.page[slot].long()].flatten()
        base = int(adapters.tables.base[slot, 0, -1])
        assert torch.equal(a[slot, :rank].flatten(), stream[base:][: rank * inner])
        assert torch.equal(b[slot, :rank].flatten(), stream[base + rank * inner :][: rank * outer])
        assert not a[slot, rank:].any()
        assert float(scale[slot]) == pytest.approx((rank * inner) ** -0.5)


def test_without_what_it_is_compared_with_a_case_still_has_a_result() -> None:
    def clock(run: object) -> Times:
        if next(calls) == 1:
            raise RuntimeError("cannot be captured")
        return Times(1.0, 1.0, 1.0, 3)

    calls = iter(range(3))
    case = next(LoraCases(SETTING).compared())
    measured, problems = command.measure(case, clock)  # type: ignore[arg-type]
    assert measured is not None
    assert measured.others_us == {LOOP: 1.0}
    assert problems == [f"{case.title}, gather_bmm: RuntimeError: cannot be captured"]


def test_a_baseline_that_is_wrong_is_noticed_and_outputs_are_put_back() -> None:
    prepared = next(LoraCases(SETTING).compared()).prepare()
    (y,) = prepared.outputs
    before = y.clone()
    check(prepared)
    assert torch.equal(y, before)
    prepared.baselines[LOOP] = lambda: y.fill_(torch.nan)
    with pytest.raises(WrongResult, match="loop is off by nan"):
        check(prepared)


# --- judging ----------------------------------------------------------------------------


def measured_step(adapters: int, us: float) -> Result:
    # 4 MB at 4 TB/s are 1 us; 10 launches are 12 us by the floor's count and 9 as measured.
    case = Case("lora_step", "", Work(4_000_000, 1, 10), lambda: None, 64, adapters, "16")  # type: ignore[arg-type, return-value]
    return result(case, us, **{EMPTY: 9.0})


def test_a_step_s_time_is_bytes_launches_and_the_rest() -> None:
    shares = StepShares.of(measured_step(1, 26.0), FACTS)
    assert shares.bytes_us == pytest.approx(1.0)
    assert shares.launches_us == 9.0
    assert shares.rest_us == pytest.approx(16.0)
    assert shares.floor_us == pytest.approx(13.0)
    assert shares.times_floor == pytest.approx(2.0)


def test_bars_are_met_not_met_or_not_measured() -> None:
    groups = [
        result(
            Case("lora_decode", group, Work(1, 1, 2), lambda: None, 64, 8, "16"),  # type: ignore[arg-type, return-value]
            10.0,
            **{GATHER_BMM: 10.0 if group == "o" else 40.0, LOOP: 49.9},
        )
        for group in GROUPS
    ]
    steps = [measured_step(1, 1.5 * 13.0), measured_step(8, 1.51 * 13.0)]
    bars = {bar.what: bar for bar in judge([*steps, *groups], FACTS, FULL, judged=True)}
    assert len(bars) == 4 + 2 * 4
    step = "LoRA of a decode step, {}: time over floor"
    layer = "a layer's LoRA, {}: torch's {} over the kernels"
    assert bars[step.format("1 adapter")].verdict == "met"
    assert bars[step.format("8 adapters")].verdict == "NOT MET"
    assert bars[step.format("32 adapters")].verdict == "not measured"
    gather = bars[layer.format("8 adapters", GATHER_BMM)]
    assert (gather.measured, gather.asked, gather.verdict) == (pytest.approx(3.25), ">= 3 x", "met")
    loop = bars[layer.format("8 adapters", LOOP)]
    assert (loop.measured, loop.asked, loop.verdict) == (pytest.approx(4.99), ">= 5 x", "NOT MET")

    # On a CPU, or of tiny sizes, what is measured is shown and not judged.
    bars = {bar.what: bar for bar in judge([*steps, *groups], FACTS, FULL, judged=False)}
    assert bars[step.format("1 adapter")].verdict == "not judged"
    assert bars[step.format("8 adapters")].verdict == "not judged"
    assert bars[step.format("8 adapters")].measured == pytest.approx(1.51)
    assert bars[step.format("32 adapters")].verdict == "not measured"

    # A layer of which a group is missing is not judged.
    bars = {bar.what: bar for bar in judge(groups[1:], FACTS, FULL, judged=True)}
    assert {bar.verdict for bar in bars.values()} == {"not measured"}
