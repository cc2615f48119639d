"""`python -m kernels.benchmark`: measures, prints tables as it goes, writes files."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import MISSING, fields
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

import torch

import kernels.benchmark
from kernels.benchmark.attention_cases import decode_cases, prefill_cases
from kernels.benchmark.bars import judge, step_shares
from kernels.benchmark.case import Case, check
from kernels.benchmark.device import measure_device
from kernels.benchmark.elementwise_cases import elementwise_cases
from kernels.benchmark.lora_cases import LoraCases
from kernels.benchmark.plan import FULL, QUICK, Setting
from kernels.benchmark.plot import plot_roofline
from kernels.benchmark.results import Result, ResultFiles
from kernels.benchmark.tables import HEADER, bars_table, device_line, result_line, step_table
from kernels.benchmark.timing import Clock, GraphClock, wall_clock
from kernels.shapes import SHAPES, ModelShape


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code: 1 if a result was wrong or a case failed."""
    options = parse(arguments)
    with torch.inference_mode():
        return benchmark(options)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options. Makes the folder for files, to see that it can be written to."""
    parser = argparse.ArgumentParser(
        prog="python -m kernels.benchmark", description=kernels.benchmark.__doc__
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", choices=SHAPES, help="default: llama-3.1-8b; quick: tiny-llama")
    model.add_argument("--config", type=Path, help="config.json of a Llama-like model")
    parser.add_argument("--out", type=Path, default=Path("runs/kernels"), help="folder for files")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works")
    parser.add_argument(
        "--budget", type=seconds, default=240.0, help="seconds; no case starts later"
    )
    options = parser.parse_args(arguments)
    options.name = options.model or ("tiny-llama" if options.quick else "llama-3.1-8b")
    options.shape = SHAPES[options.name]
    if options.config:
        options.name = options.config.resolve().parent.name
        try:
            options.shape = read_shape(options.config)
        except (OSError, ValueError) as error:
            parser.error(f"--config {options.config}: {error}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --quick shows how it would go")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=options.out):
            pass
    except OSError as error:
        parser.error(f"--out {options.out}: {error.strerror}")
    return options


def seconds(text: str) -> float:
    """A time as an option gives it. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more seconds, not {text}")
    return value


def read_shape(path: Path) -> ModelShape:
    """The shape of a model from its Hugging Face `config.json`. Raises OSError or ValueError."""
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("it is not a JSON object")
    needed = [field.name for field in fields(ModelShape) if field.default is MISSING]
    kinds = dict.fromkeys(needed, int) | {
        field.name: type(field.default) for field in fields(ModelShape) if field.name not in needed
    }
    # null, which some have for head_dim, is as good as nothing
    given = {name: config[name] for name in kinds if config.get(name) is not None}
    for name, value in given.items():
        _check_kind(name, value, kinds[name])
    heads = given.get("num_attention_heads", 0)
    if heads > 0:
        given.setdefault("num_key_value_heads", heads)
        given.setdefault("head_dim", given.get("hidden_size", 0) // heads)
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return ModelShape(**given)


def _check_kind(name: str, value: object, kind: type) -> None:
    # In JSON, type() says it: a bool is no int there, and 10000 is as good a float as 10000.0.
    if type(value) is not kind and (kind, type(value)) != (float, int):
        asked = {int: "a whole number", float: "a number", bool: "true or false"}[kind]
        raise ValueError(f"{name} must be {asked}, not {value!r}")


def benchmark(options: argparse.Namespace) -> int:
    """Measure what there is time for."""
    began = time.monotonic()
    on_gpu = options.device == "cuda"
    device = torch.device(options.device)
    if not on_gpu:
        torch.set_num_threads(1)  # so that nothing depends on who else is busy
    torch.manual_seed(0)
    setting = Setting(
        shape=options.shape,
        ops=importlib.import_module("kernels.triton_ops" if on_gpu else "kernels.torch_ops"),
        device=device,
        dtype=torch.bfloat16 if on_gpu else torch.float32,
        plan=QUICK if options.quick else FULL,
    )
    clock: Clock = GraphClock(device) if on_gpu else wall_clock
    facts = measure_device(device, setting.dtype, clock)
    files = ResultFiles(options.out, facts, {"model": options.name, "quick": options.quick})
    say(f"{options.name} on {device_line(facts)}", "", HEADER)

    results: list[Result] = []
    failed = skipped = 0
    for case in all_cases(setting):
        if time.monotonic() - began > options.budget:
            skipped += 1
            continue
        result, problems = measure(case, clock)
        for problem in problems:  # the other cases go on; the command fails in the end
            failed += 1
            files.fail(problem)
            say(f"FAILED {problem}")
        if result:
            results.append(result)
            files.add(result)
            say(result_line(result, facts))

    judged = on_gpu and not options.quick
    bars = judge(results, facts, setting.plan, judged=judged)
    tables = [step_table(step_shares(results, facts)), bars_table(bars)]
    if not judged:
        tables.append("The bars are for a GPU and full sizes: here they say nothing.")
    text = "\n\n".join(tables)
    (options.out / "bars.txt").write_text(text + "\n", encoding="utf-8")
    say("", text, "")
    if results:
        plotted = plot_roofline(results, facts, options.name, options.out / "roofline.png")
        if not plotted:
            say("no roofline.png: matplotlib is not installed")
    say(f"{len(results)} cases in {time.monotonic() - began:.0f} s, see {options.out}")
    if skipped:
        say(f"{skipped} cases left out: the budget of {options.budget:g} s was spent")
    if failed:
        say(f"FAILED: {failed}, see {options.out / 'failures.txt'}")
    return 1 if failed else 0


def all_cases(setting: Setting) -> Iterator[Case]:
    """What matters most comes first, should time run out."""
    lora = LoraCases(setting)
    return chain(
        lora.steps(),
        lora.compared(),
        decode_cases(setting),
        prefill_cases(setting),
        elementwise_cases(setting),
        lora.prefills(),
        lora.decodes(),
    )


def measure(case: Case, clock: Clock) -> tuple[Result | None, list[str]]:
    """Check the case's result, then time it and what it is compared with. Returns also what went
    wrong; without what it is compared with the case still has a result."""
    try:
        prepared = case.prepare()
        error = check(prepared)
        times = clock(prepared.run)
    except Exception as problem:
        return None, [f"{case.title}: {type(problem).__name__}: {problem}"]
    others_us, problems = {}, []
    for name, run in (prepared.baselines | prepared.untested).items():
        try:
            others_us[name] = clock(run).median_us
        except Exception as problem:
            problems.append(f"{case.title}, {name}: {type(problem).__name__}: {problem}")
    return Result.of(case, times, error, others_us), problems


def say(*lines: str) -> None:
    """Print at once, so that what has been measured is seen if the rest never comes."""
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
