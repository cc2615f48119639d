"""Predictions for uploaded measurements, run by run and figure by figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simlora.calibration.design import read_shapes, rows_of_steps
from simlora.calibration.formats import LOADS, STEPS
from simlora.calibration.loads import load_bytes
from simlora.calibration.runs import MeasuredRun
from simlora.calibration.tables import Table
from simlora.errors import UserError
from simlora.scenario.catalog import load_model
from simlora.scenario.schema import ModelChoice
from simlora.sim import simulate
from simlora.timing.measured import outside
from simlora.timing.profile import Feature, Profile
from simlora.validation import slora
from simlora.validation.metrics import THROUGHPUT, usable
from simlora.validation.rows import BscRun
from simlora.validation.runner import Settings, predict_run
from simlora.validation.slora import SLoraRun

# What a server's flags fix, and what therefore has a least in a range as well as a most.
_FIXED: tuple[Feature, ...] = ("slots", "max_rank")


@dataclass(frozen=True, slots=True)
class Judged:
    """One run, step or load: what was `predicted` and `measured` of it, by metric. `beyond`:
    features in which it leaves the profile's range, with the value where it is known; `starts`:
    whether the server started, as predicted and as measured, where that is what was measured."""

    name: str
    group: str
    predicted: Mapping[str, float]
    measured: Mapping[str, float]
    beyond: Mapping[str, float | None]
    scaled_from: str | None = None
    starts: tuple[bool, bool] | None = None


def judge_published(run: BscRun, settings: Settings) -> Judged:
    """A published run of vLLM, as `simlora validate --recipe bsc` predicts it."""
    found = predict_run(run, settings)
    measured = {name: value for name, value in run.measured.items() if usable(run, name)}
    predicted = dict(found.metrics)
    if not found.feasible and THROUGHPUT in measured:
        predicted[THROUGHPUT] = 0.0
    known = {"slots": run.slots, "max_rank": run.max_rank}
    return Judged(
        "/".join(run.run_id.rstrip("/").split("/")[-2:]),
        run.regime.replace("_", " "),
        predicted,
        measured,
        {feature: known.get(feature) for feature in found.extrapolates},
        found.scaled_from,
        (found.feasible, run.feasible),
    )


def judge_slora(run: SLoraRun, profile: str | None) -> Judged:
    """A published run of S-LoRA, as `simlora validate --recipe s-lora` predicts it."""
    found = slora.predict(run, profile)
    line = run.place.rpartition(":")[2]
    return Judged(
        f"{run.setting} on {run.gpu}, {run.adapters} adapters, {run.rate_rps:g} requests/s, "
        f"line {line}",
        f"{run.gpu}, {run.regime}",
        found.metrics,
        run.measured,
        dict.fromkeys(found.extrapolates),
        found.scaled_from,
    )


def judge_run(
    run: MeasuredRun, profile: str | None, progress: Callable[[float, int], None]
) -> Judged:
    """A run of somebody's own server, as `simlora run` predicts its scenario; `profile` replaces
    the scenario's, by name or file."""
    scenario = run.scenario
    try:
        if profile is not None:
            scenario = scenario.with_overrides({"timing.profile": profile})
        summary = simulate(scenario, progress=progress).summary
    except UserError as error:
        raise UserError(f"{run.place}: {error}") from None
    timing = summary["simulation"]["timing"]
    place = run.place.rpartition("/")[2]
    return Judged(
        f"{scenario.name}, {place}",
        "runs",
        _figures(summary),
        run.measured,
        dict.fromkeys(timing.get("extrapolates") or ()),
        timing.get("scaled_from"),
    )


def judge_tables(tables: Iterable[Table], profile: Profile) -> Iterator[Judged]:
    """Steps and loads by the figures of a profile, taken to be of what it was measured on.

    Loads are left out where the profile says nothing of them, KV capacities always: a profile holds
    no memory. Raises UserError for rows that contradict themselves.
    """
    model = load_model(ModelChoice(name=profile.model, weights=profile.weights))
    for table in tables:
        if table.format is STEPS:
            yield from _steps(table, profile)
        elif table.format is LOADS and profile.load is not None:
            nbytes = load_bytes(table, model, "all-linear")
            predicted_s = profile.load.latency_s + nbytes / profile.load.bytes_per_s
            for row, seconds in enumerate(predicted_s.tolist()):
                measured = {"load_s": float(table.columns["load_s"][row])}
                yield Judged(_place(table, row), "loads", {"load_s": seconds}, measured, {})


def _steps(table: Table, profile: Profile) -> Iterator[Judged]:
    model = load_model(ModelChoice(name=profile.model, weights=profile.weights))
    shapes = read_shapes(table, model, "all-linear")
    seconds = table.columns["step_s"]
    predicted_s = rows_of_steps(shapes, seconds, np.ones(len(table))).predict(profile.step)
    ranks = table.columns.get("rank", np.zeros(len(table)))
    for row in range(len(table)):
        of: dict[Feature, float] = {
            "tokens": float(shapes.tokens[row]),
            "running": float(shapes.sequences[row]),
            "attended_tokens": float(shapes.decode_attended_tokens[row]),
            "distinct_adapters": float(shapes.distinct_adapters[row]),
            "passed_over": float(shapes.passed_over[row]),
        }
        if shapes.distinct_adapters[row]:
            of |= {"slots": float(shapes.slots[row]), "max_rank": float(ranks[row])}
        yield Judged(
            f"{_place(table, row)}: {shapes.tokens[row]:g} tokens, "
            f"{shapes.distinct_adapters[row]:g} adapters",
            "steps",
            {"step_s": float(predicted_s[row])},
            {"step_s": float(seconds[row])},
            beyond(of, profile),
        )


def beyond(of: Mapping[Feature, float], profile: Profile) -> dict[str, float | None]:
    """In which features something lies outside of a profile's measurements. A step smaller than
    all measured ones is none to doubt: it lies between them and an empty one."""
    left = outside(of, profile.holds_for)
    return {
        feature: value
        for feature, value in of.items()
        if feature in left and (feature in _FIXED or value > profile.holds_for[feature][1])
    }


def _place(table: Table, row: int) -> str:
    return f"{table.path.name}, line {table.lines[row]}"


_LATENCIES = ("tpot", "itl", "ttft", "e2e")
_RATES = ("requests_per_s", "input_tokens_per_s", "output_tokens_per_s")


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """A summary's figures by the columns of a table of runs; those that are not there are
    left out."""
    latency, throughput = summary["latency"], summary["throughput"]
    figures = {f"{name}_mean_s": latency[f"{name}_s"]["mean"] for name in _LATENCIES}
    figures |= {name: throughput[name] for name in _RATES}
    if throughput["requests_per_s"]:
        figures["total_tokens_per_s"] = sum(throughput[name] for name in _RATES[1:])
    return {name: value for name, value in figures.items() if value is not None}
