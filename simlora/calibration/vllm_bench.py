"""Runs from the JSON that `vllm bench serve --save-result` (or benchmark_serving.py) writes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from simlora.calibration.formats import RUNS
from simlora.calibration.runs import MeasuredRun, load_run
from simlora.errors import UserError
from simlora.scenario.problems import given

# Theirs, ours, and the factor between. vLLM's throughputs are over the whole benchmark, from the
# first request sent to the last answer, as those of a drained run are here.
_FIGURES = (
    ("mean_tpot_ms", "tpot_mean_s", 1e-3),
    ("mean_itl_ms", "itl_mean_s", 1e-3),
    ("mean_ttft_ms", "ttft_mean_s", 1e-3),
    ("mean_e2el_ms", "e2e_mean_s", 1e-3),
    ("request_throughput", "requests_per_s", 1.0),
    ("output_throughput", "output_tokens_per_s", 1.0),
    ("total_token_throughput", "total_tokens_per_s", 1.0),
)
# `--request-rate inf` sends everything at once.
_AT_ONCE_RPS = 1e6


def read_bench(path: Path, scenario: Path | None) -> tuple[list[MeasuredRun], list[str]]:
    """The runs in a file, one JSON object or one a line (`--append-result`), and warnings.

    `scenario` is the scenario of the server, unless the benchmark was given `--metadata
    scenario=FILE`; metadata whose key has a dot change a field of it. The rate and the number of
    requests are the benchmark's. Raises UserError with file and field.
    """
    runs, warnings = [], []
    for place, data in _objects(path):
        run, warning = _run(place, data, path, scenario)
        runs.append(run)
        warnings += warning
    return runs, warnings


def _objects(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text, so it is no JSON file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        found = _parsed(path, text)
    except UserError:
        raise
    except (ValueError, RecursionError):  # a number of thousands of digits, or endless brackets
        raise UserError(
            f"{path}: is not valid JSON: it has too large a number, or too many brackets"
        ) from None
    for place, data in found:
        if not isinstance(data, dict) or "completed" not in data:
            raise UserError(
                f"{place}: is no result of vllm bench serve, which is an object with the field "
                "completed"
            )
    return found


def _parsed(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        return [(str(path), json.loads(text))]
    except json.JSONDecodeError as whole:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        try:
            found = [(f"{path}:{number}", json.loads(line)) for number, line in lines]
        except json.JSONDecodeError:
            found = []
        if len(found) < 2:
            raise UserError(f"{path}:{whole.lineno}: is not valid JSON: {whole.msg}") from None
        return found


def _run(
    place: str, data: dict[str, Any], path: Path, scenario: Path | None
) -> tuple[MeasuredRun, list[str]]:
    completed = _count(place, data, "completed")
    if not completed:
        raise UserError(f"{place}: completed: no request completed, so nothing was measured")
    warnings = []
    measured = {}
    for theirs, ours, factor in _FIGURES:
        value = _number(place, data, theirs)
        if value:  # 0 stands for nothing measured, as for answers of one token
            problem = RUNS.columns[ours].problem(value, factor)
            if problem:
                raise UserError(f"{place}: {theirs}: {problem}, not {value:g}")
            measured[ours] = value * factor
    for theirs, ours in (
        ("total_input_tokens", "input_tokens_mean"),
        ("total_output_tokens", "output_tokens_mean"),
    ):
        value = _number(place, data, theirs)
        if value:
            measured[ours] = value / completed
    if not {"tpot_mean_s", "itl_mean_s"} & set(measured):
        raise UserError(f"{place}: mean_tpot_ms: is missing, and so is mean_itl_ms")
    settings = [
        f"{key}={json.dumps(data[key]) if not isinstance(data[key], str) else data[key]}"
        for key in data
        if "." in key
    ]
    settings += _traffic(place, data, completed)
    failed = _failed(place, data, completed)
    if failed:
        warnings.append(f"{place}: {failed} requests failed; the run is simulated without them")
    own = data.get("scenario")
    file = path.parent / own if isinstance(own, str) else scenario
    if file is None:
        raise UserError(
            f"{place}: says nothing of the server; name its scenario with --scenario FILE, or run "
            "the benchmark with --metadata scenario=FILE"
        )
    run = load_run(place, file, settings, measured)
    concurrency = _count(place, data, "max_concurrency")
    if not concurrency:
        return run, warnings
    of_server = run.scenario.engine.max_num_seqs
    if concurrency < of_server:
        settings.append(f"engine.max_num_seqs={concurrency}")
        warnings.append(f"{place}: max_concurrency {concurrency} is taken as engine.max_num_seqs")
    if concurrency < of_server or _holds_back(concurrency, run, completed):
        # The client holds back what the server would queue, and does not count that wait.
        for name in ("ttft_mean_s", "e2e_mean_s"):
            measured.pop(name, None)
        warnings.append(
            f"{place}: the time to first token is not compared: under max_concurrency "
            f"{concurrency} it leaves out the wait at the client"
        )
    return load_run(place, file, settings, measured), warnings


def _holds_back(concurrency: int, run: MeasuredRun, completed: int) -> bool:
    """Whether the client kept requests waiting that a server of more sequences would have had: it
    sent all at once, or half of what it allows was in flight on average (Little's law)."""
    if concurrency >= completed:
        return False
    if run.scenario.workload.rate_rps == _AT_ONCE_RPS:
        return True
    of = run.measured
    answer_s = max(of.get("output_tokens_mean", 1.0) - 1, 0.0) * of.get("tpot_mean_s", 0.0)
    in_flight_s = of.get("e2e_mean_s", of.get("ttft_mean_s", 0.0) + answer_s)
    return of.get("requests_per_s", math.inf) * in_flight_s > concurrency / 2


def _failed(place: str, data: dict[str, Any], completed: int) -> int:
    """Requests without an answer; older versions do not count them."""
    prompts = _count(place, data, "num_prompts") or completed
    return _count(place, data, "failed") or max(0, prompts - completed)


def _traffic(place: str, data: dict[str, Any], completed: int) -> list[str]:
    """The benchmark's own rate, number of completed requests and burstiness, as settings."""
    settings = [f"workload.max_requests={completed}", "workload.duration_s=null"]
    rate = data.get("request_rate", "inf")
    if rate in ("inf", "Infinity") or rate == math.inf:
        rate_rps = _AT_ONCE_RPS
    else:
        rate_rps = _number(place, data, "request_rate") or 0.0
        if rate_rps <= 0:
            raise UserError(
                f"{place}: request_rate: must be greater than 0 or inf, not {given(rate)}"
            )
    settings.append(f"workload.rate_rps={rate_rps!r}")
    burstiness = _number(place, data, "burstiness")
    if burstiness and burstiness != 1:
        settings.append(f"workload.arrivals={{gamma: {{cv: {burstiness**-0.5!r}}}}}")
    return settings


def _count(place: str, data: dict[str, Any], name: str) -> int | None:
    value = _number(place, data, name)
    if value is None:
        return None
    if not value.is_integer():
        raise UserError(f"{place}: {name}: must be a whole number, not {value:g}")
    return int(value)


def _number(place: str, data: dict[str, Any], name: str) -> float | None:
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UserError(f"{place}: {name}: must be a number, not {given(value)}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise UserError(
            f"{place}: {name}: must be a finite number of at least 0, not {given(value)}"
        )
    return number
