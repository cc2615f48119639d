"""The end of a report: what its figures rest on, and how the run can be repeated."""

from __future__ import annotations

from html import escape
from typing import Any

from simlora.errors import UserError
from simlora.report.measured import from_outside, is_measured
from simlora.report.scenario_file import asked_hash, scenario_of
from simlora.report.table import table
from simlora.report.words import duration, share, tick, timing_basis
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result
from simlora.timing.profile import Profile, is_profile_path, load_profile, profile_names

_ROOFLINE = (
    "Times of steps and copies are computed from the hardware's datasheet "
    "figures, not measured on it: trust comparisons more than absolute milliseconds."
)
_CLIENT = (
    "Times were measured at the client, from when a request was first sent. The fleet, and with it "
    "the price, is what the scenario says, not what the server told."
)
_ENGINE = "Times were measured inside of the engine that served the requests."


def assumptions(result: Result) -> str:
    """How far to trust the figures, and all that was asked, as HTML."""
    summary = result.summary
    simulation = summary["simulation"]
    outside = from_outside(summary)
    if outside:
        told = [_CLIENT]
    elif is_measured(summary):
        told = [_ENGINE]
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
            "<span class=scenario>Below is everything that was asked, defaults included; "
            f"<code>simlora run</code> on it {again}.</span>"
        )
        text = escape(path.read_text(encoding="utf-8"))
        scenario = (
            f"\n<details class=scenario><summary>Scenario</summary><pre>{text}</pre></details>"
        )
    return f"<h2>Assumptions</h2>\n<p>{' '.join(told)}</p>{scenario}"


def provenance(result: Result) -> str:
    """What made the figures, as HTML."""
    rows = [(escape(what), escape(told)) for what, told in provenance_rows(result)]
    shown = table("provenance", ("what", "of this run"), rows, "Provenance", named_rows=True)
    return f"<h2>Provenance</h2>\n{shown}"


def provenance_rows(result: Result) -> list[tuple[str, str]]:
    """What made the figures, item by item, in plain text."""
    simulation = result.summary["simulation"]
    rows = [
        ("simlora", str(simulation["version"])),
        ("scenario", f"{result.summary['name']} ({scenario_hash(result)})"),
        ("seed", str(simulation["seed"])),
        *_timing_rows(result),
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


def _timing_rows(result: Result) -> list[tuple[str, str]]:
    timing = result.summary["simulation"]["timing"]
    if from_outside(result.summary):
        return [("times", f"measured at the client of {timing['profile']}")]
    if is_measured(result.summary):
        return [("times", f"measured on {timing['profile']}")]
    rows = [
        ("times", "simulated"),
        ("timing profile", f"{timing['profile']} ({timing['hash']})"),
    ]
    profiles = _profiles(result)
    if timing["profile"] == "roofline":
        rows.append(("date of the profile", "none: datasheet figures, not measured"))
    elif profiles:
        dates = dict.fromkeys(profile.provenance.date for profile in profiles)
        rows.append(("date of the profile", ", ".join(dates)))
        sources = dict.fromkeys(profile.provenance.source for profile in profiles)
        rows.append(("source of the profile", "; ".join(sources)))
    else:
        rows.append(("date of the profile", "not known here: its file is elsewhere"))
    return [*rows, ("error of the profile", _error(timing)), ("extrapolates", _beyond(timing))]


def _error(timing: dict[str, Any]) -> str:
    """What the profile says of itself."""
    errors = timing.get("error") or {}
    if not errors:
        return "none stated: nothing was measured to compare with"
    told = (f"{name.replace('_', ' ')} {share(error)}" for name, error in errors.items())
    return f"{', '.join(told)}, on measurements it was not fitted to"


def _beyond(timing: dict[str, Any]) -> str:
    """Whether the run leaves what was measured, and in what."""
    told = []
    if timing.get("scaled_from"):
        told.append(f"scaled by the roofline from {timing['scaled_from']}")
    if timing.get("extrapolates"):
        features = ", ".join(name.replace("_", " ") for name in timing["extrapolates"])
        told.append(f"beyond the measured range in {features}")
    if told:
        return f"yes: {'; '.join(told)}"
    if timing["profile"] == "roofline":
        return "does not apply: the roofline has no measured range"
    return "no: within what was measured"


def _profiles(result: Result) -> list[Profile]:
    """The profiles that the run names, as far as they can be found here."""
    names = str(result.summary["simulation"]["timing"]["profile"]).split(", ")
    shipped = set(profile_names())
    asked = (scenario_of(result).get("timing") or {}).get("profile") or ""
    places = [name for name in names if name in shipped]
    if is_profile_path(str(asked)):
        places.append(str(asked))
    found = []
    for place in places:
        try:
            profile = load_profile(place)
        except UserError:
            continue
        if profile.name in names:
            found.append(profile)
    return found
