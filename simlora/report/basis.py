"""The end of a report: what its figures rest on, and how the run can be repeated."""

from __future__ import annotations

from html import escape
from typing import Any

from simlora.report.measured import from_outside, is_measured
from simlora.report.scenario_file import asked_hash, scenario_of
from simlora.report.table import table
from simlora.report.timing_words import profile_rows, start_sentence, timing_sentence
from simlora.report.words import duration
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result

_CLIENT = (
    "Times were measured at the client, from when a request was first sent. The fleet, and with it "
    "the price, is what the scenario says, not what the server told."
)
_ENGINE = "Times were measured inside of the engine that served the requests."


def assumptions(result: Result) -> str:
    """How far to trust the figures, and all that was asked, as HTML."""
    summary = result.summary
    told = [escape(text, quote=False) for text in assumption_sentences(summary)]
    path = result.directory / RESOLVED_SCENARIO
    scenario = ""
    if path.is_file():
        again = "simulates the same requests" if is_measured(summary) else "repeats the run"
        told.append(
            "<span class=scenario>Below is everything that was asked, defaults included; "
            f"<code>simlora run</code> on it {again}.</span>"
        )
        text = escape(path.read_text(encoding="utf-8"))
        scenario = (
            f"\n<details class=scenario><summary>Scenario</summary><pre>{text}</pre></details>"
        )
    return f"<h2>Assumptions</h2>\n<p>{' '.join(told)}</p>{scenario}"


def assumption_sentences(summary: dict[str, Any]) -> list[str]:
    """How far to trust a run's times, and which requests count, in plain text."""
    simulation = summary["simulation"]
    outside = from_outside(summary)
    if outside:
        told = _CLIENT
    elif is_measured(summary):
        told = _ENGINE
    else:
        told = timing_sentence(simulation["timing"])
    if outside and not simulation["warmup_s"]:
        return [told, "All requests count, the first ones too."]
    return [told, start_sentence(simulation["warmup_s"])]


def provenance(result: Result) -> str:
    """What made the figures, as HTML."""
    rows = [(escape(what), escape(told)) for what, told in provenance_rows(result)]
    shown = table("provenance", ("what", "of this run"), rows, "Provenance")
    return f"<h2>Provenance</h2>\n{shown}"


def provenance_rows(result: Result) -> list[tuple[str, str]]:
    """What made the figures, item by item, in plain text."""
    simulation = result.summary["simulation"]
    rows = [
        ("simlora", str(simulation["version"])),
        ("scenario", f"{result.summary['name']} ({scenario_hash(result)})"),
        ("seed", str(simulation["seed"])),
        *timing_rows(result),
        ("statistics", str(simulation["statistics"])),
    ]
    took = duration(simulation["wall_s"])
    return [*rows, ("work", f"{simulation['events']:,} events in {took} of real time")]


def scenario_hash(result: Result) -> str:
    """The hash of what the run was asked, or why there is none."""
    try:
        return asked_hash((result.directory / RESOLVED_SCENARIO).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return "its file is not in the directory"


def timing_rows(result: Result) -> list[tuple[str, str]]:
    """Where a run's times come from, item by item, in plain text."""
    timing = result.summary["simulation"]["timing"]
    if from_outside(result.summary):
        return [("times", f"measured at the client of {timing['profile']}")]
    if is_measured(result.summary):
        return [("times", f"measured on {timing['profile']}")]
    asked = (scenario_of(result).get("timing") or {}).get("profile") or ""
    return [("times", "simulated"), *profile_rows(timing, str(asked))]
