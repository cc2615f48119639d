"""The end of a report: what its figures rest on, and how the run can be repeated."""

from __future__ import annotations

from html import escape
from typing import Any

from simlora.report.measured import from_outside, is_measured
from simlora.report.words import duration, tick, timing_basis
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result

_ROOFLINE = (
    "Times of steps and copies are computed from the hardware's datasheet "
    "figures, not measured on it: trust comparisons more than absolute milliseconds."
)
_CLIENT = (
    "Times were measured at the client, from when a request was first sent. The fleet, and with it "
    "the price, is what the scenario says, not what the server told."
)


def assumptions(result: Result) -> str:
    """How far to trust the figures, and all that was asked, as HTML."""
    summary = result.summary
    simulation = summary["simulation"]
    outside = from_outside(summary)
    if outside:
        told = [_CLIENT]
    elif simulation["timing"]["profile"] == "roofline":
        told = [_ROOFLINE]
    else:
        told = [f"Timing: {escape(timing_basis(simulation['timing']))}."]
    if simulation["warmup_s"]:
        told.append(
            f"Latencies and tiers leave out requests that arrived in the first "
            f"{tick(simulation['warmup_s'])}."
        )
    elif outside:
        told.append("All requests count, the first ones too.")
    else:
        told.append("The run starts with no adapter in GPU memory, and all requests count.")
    path = result.directory / RESOLVED_SCENARIO
    scenario = ""
    if path.is_file():
        again = "simulates the same requests" if is_measured(summary) else "repeats the run"
        told.append(
            "Below is everything that was asked, defaults included; "
            f"<code>simlora run</code> on it {again}."
        )
        text = escape(path.read_text(encoding="utf-8"))
        scenario = f"\n<details><summary>Scenario</summary><pre>{text}</pre></details>"
    return f"<h2>Assumptions</h2>\n<p>{' '.join(told)}</p>{scenario}"


def provenance(summary: dict[str, Any]) -> str:
    """What made the figures, as HTML."""
    simulation = summary["simulation"]
    timing = simulation["timing"]
    if from_outside(summary):
        made = f"measured on {escape(timing['profile'])}"
    else:
        made = f"timing profile {escape(timing['profile'])} ({escape(timing['hash'])})"
    return (
        "<h2>Provenance</h2>\n"
        f"<p class=soft>simlora {escape(simulation['version'])}, seed {simulation['seed']}, "
        f"{made}, statistics: {escape(simulation['statistics'])}, {simulation['events']:,} events "
        f"in {duration(simulation['wall_s'])} of real time.</p>"
    )
