"""Uploaded measurements: what kind of files they are, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from simlora.calibration.formats import RUNS
from simlora.calibration.runs import MeasuredRun
from simlora.calibration.runs import read_runs as read_measured_runs
from simlora.calibration.tables import Selection, Table, read_tables
from simlora.calibration.vllm_bench import read_bench
from simlora.dashboard.limits import (
    MOST_ADAPTERS,
    MOST_REQUESTS,
    check_self_contained,
    check_size,
)
from simlora.dashboard.scenario_text import scenario_from_bytes
from simlora.errors import UserError
from simlora.scenario.loading import parse_setting
from simlora.validation import rows, slora
from simlora.validation.slora import SLoraRun

Kind = Literal["published", "s-lora", "measured"]
SUFFIXES = ("csv", "json", "jsonl", "yaml", "yml")
MOST_FILES = 10
MOST_BYTES = 8_000_000  # of all files together
MOST_ROWS = 20_000
# Of a published run. Once its client has reached its cap, a run that is offered more takes no
# longer: 60 requests a second are about what such a server completes.
MOST_OFFERED = 5_000_000
SERVED_RPS = 60.0
_TELLING: dict[Kind, tuple[str, ...]] = {
    "published": ("run_id", "vllm_engine", "max_loras_slots"),
    "s-lora": ("method", "num_adapters", "cv"),
}
_SCENARIOS, _BENCHES = (".yaml", ".yml"), (".json", ".jsonl")


@dataclass(slots=True)
class Measurements:
    """What the files hold. `tables`: steps, loads and KV capacities; `runs`: whole runs, each with
    its scenario; `notes`: what is odd about them."""

    kind: Kind
    published: list[rows.BscRun] = field(default_factory=list)
    slora: list[SLoraRun] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    runs: list[MeasuredRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def kind_of(files: Mapping[str, bytes]) -> Kind:
    """What kind of measurements these files, by their names, are.

    Raises UserError if they are too large, none, or of kinds that do not go together.
    """
    if len(files) > MOST_FILES:
        raise UserError(f"{len(files)} files are more than the {MOST_FILES} that are read at once")
    nbytes = sum(map(len, files.values()))
    if nbytes > MOST_BYTES:
        raise UserError(
            f"the files have {nbytes:,} bytes, more than the {MOST_BYTES:,} that the dashboard "
            "reads: upload fewer rows, or use simlora validate and calibrate"
        )
    kinds: dict[str, Kind] = {}
    for name, raw in files.items():
        suffix = Path(name).suffix.lower()
        if suffix.removeprefix(".") not in SUFFIXES:
            raise UserError(f"{name}: must be one of {', '.join(SUFFIXES)}")
        if suffix not in _SCENARIOS:
            kinds[name] = "measured" if suffix in _BENCHES else _kind_of_table(raw)
    if not kinds:
        raise UserError(
            f"{', '.join(files)}: is a scenario without measurements; add the table or the JSON "
            "result that it belongs to"
        )
    for name, kind in kinds.items():
        if kind != "measured" and len(files) > 1:
            raise UserError(f"{name}: is a table of published runs and comes alone")
    return next(iter(kinds.values()))


def _kind_of_table(raw: bytes) -> Kind:
    header = raw.partition(b"\n")[0].decode("utf-8-sig", errors="replace")
    names = {name.strip().strip('"') for name in header.split(",")}
    return next((kind for kind, columns in _TELLING.items() if names >= {*columns}), "measured")


def read_measurements(scratch: Path, names: Sequence[str], selection: Selection) -> Measurements:
    """The measurements in the files `names` of the directory `scratch`.

    Raises UserError, one sentence, for whatever is wrong with them, and where a scenario names a
    file or a class of the server's, or asks for more than the dashboard simulates.
    """
    kind = kind_of({name: (scratch / name).read_bytes() for name in names})
    if kind == "published":
        found = Measurements(kind, published=rows.read_runs(scratch / names[0]))
        _check_count(len(found.published), names[0])
        for run in found.published:
            _check_published(run)
        return found
    if kind == "s-lora":
        found = Measurements(kind, slora=slora.read_runs(scratch / names[0]))
        for one in found.slora:
            if one.requests > MOST_REQUESTS or one.adapters > MOST_ADAPTERS:
                raise UserError(
                    f"{one.place}: {one.requests:,} requests of {one.adapters:,} adapters are more "
                    f"than the dashboard simulates ({MOST_REQUESTS:,} of {MOST_ADAPTERS:,})"
                )
        return found
    return _read_own(scratch, names, selection)


def _check_count(count: int, name: str) -> None:
    if count > MOST_ROWS:
        raise UserError(f"{name}: has {count:,} rows, more than the {MOST_ROWS:,} that are read")


def _check_published(run: rows.BscRun) -> None:
    rate_rps = sum(run.rates_rps) / len(run.rates_rps) * run.adapters
    served = min(rate_rps, SERVED_RPS) * run.window_s
    if run.adapters > MOST_ADAPTERS or served > 2 * MOST_REQUESTS:
        raise UserError(
            f"{run.run_id}: {run.adapters:,} adapters over window_s of {run.window_s:,.0f} are "
            f"more than the dashboard simulates; use simlora validate"
        )
    if rate_rps * run.window_s > MOST_OFFERED:
        raise UserError(
            f"{run.run_id}: adapter_rate_list_rps offers {rate_rps * run.window_s:,.0f} requests, "
            f"more than the {MOST_OFFERED:,} that the dashboard simulates"
        )


def _read_own(scratch: Path, names: Sequence[str], selection: Selection) -> Measurements:
    """Tables of steps, loads, KV capacities and runs, and results of vllm bench serve."""
    scenarios = [name for name in names if Path(name).suffix.lower() in _SCENARIOS]
    for name in scenarios:
        scenario_from_bytes((scratch / name).read_bytes(), name)
    found = Measurements("measured")
    paths = [scratch / name for name in names if Path(name).suffix.lower() == ".csv"]
    tables = read_tables(paths, selection)
    _check_count(sum(map(len, tables)), ", ".join(path.name for path in paths))
    for table in tables:
        found.notes += table.warnings
        if table.format is not RUNS:
            found.tables.append(table)
            continue
        for row, scenario in enumerate(table.text["scenario"]):
            _check_uploaded(f"{table.place(row)}: scenario", scenario, scenarios)
            for key, cells in table.settings.items():
                name, value = parse_setting(f"{key}={cells[row]}")
                check_self_contained(_nested(name, value), table.place(row))
        found.runs += read_measured_runs(table)
    for name in names:
        if Path(name).suffix.lower() in _BENCHES:
            _check_bench(scratch / name, scenarios)
            only = scratch / scenarios[0] if len(scenarios) == 1 else None
            runs, warnings = read_bench(scratch / name, only)
            found.runs += runs
            found.notes += warnings
    for run in found.runs:
        try:
            check_size(run.scenario)
        except UserError as error:
            raise UserError(f"{run.place}: {error}") from None
    return found


def _check_uploaded(place: str, scenario: str, uploaded: Sequence[str]) -> None:
    if scenario not in uploaded:
        there = ", ".join(uploaded) or "none"
        raise UserError(
            f"{place}: upload the file {scenario} together with the measurements, and name it "
            f"without a folder (uploaded: {there})"
        )


def _check_bench(path: Path, scenarios: Sequence[str]) -> None:
    """Raises UserError for metadata that name what only this server has."""
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for data in _objects(text):
        own = data.get("scenario")
        if isinstance(own, str):
            _check_uploaded(f"{path.name}: scenario", own, scenarios)
        for key, value in data.items():
            if "." in key:
                name, parsed = parse_setting(f"{key}={value}")
                check_self_contained(_nested(name, parsed), path.name)


def _objects(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a text, one or one a line; what is none of them is left to be told by
    what reads them."""
    found = []
    for part in (text, *text.splitlines()):
        try:
            data = json.loads(part)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            found.append(data)
    return found


def _nested(key: str, value: Any) -> Any:
    """The data in which `key`, with dots, is `value`."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value
