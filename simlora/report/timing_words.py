"""What simulated times rest on: their profile, its date and error, and how far it is stretched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simlora.errors import UserError
from simlora.report.words import share, tick, timing_basis
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.timing.profile import Profile, is_profile_path, load_profile, profile_names
from simlora.timing.select import NEAREST, make_timing, timing_hash

ROOFLINE = "roofline"
_ROOFLINE = (
    "Times of steps and copies are computed from the hardware's datasheet "
    "figures, not measured on it: trust comparisons more than absolute milliseconds."
)


def timing_of(scenario: Scenario) -> dict[str, Any]:
    """What a run's summary would say of its timing, but for `extrapolates`, which only a run can
    tell; nothing but the name of the profile where it cannot be read."""
    asked = scenario.timing.profile
    try:
        deployment = expand(scenario)
        models = [make_timing(deployment, pool) for pool in range(len(scenario.fleet))]
    except UserError:
        return {"profile": asked}
    without = ROOFLINE if asked == NEAREST else asked
    scaled = dict.fromkeys(model.scaled_from for model in models if model.scaled_from is not None)
    errors: dict[str, float] = {}
    for model in models:
        for name, error in model.error.items():
            errors[name] = max(error, errors.get(name, 0.0))
    return {
        "profile": ", ".join(dict.fromkeys(model.profile_name or without for model in models)),
        "hash": timing_hash(models),
        "scaled_from": "; ".join(scaled) or None,
        "error": errors,
    }


def timing_sentence(timing: Mapping[str, Any]) -> str:
    """How far to trust the times, in a sentence."""
    if timing["profile"] == ROOFLINE:
        return _ROOFLINE
    return f"Timing: {timing_basis(dict(timing))}."


def start_sentence(warmup_s: float) -> str:
    """Which requests count."""
    if warmup_s:
        return f"Latencies and tiers leave out requests that arrived in the first {tick(warmup_s)}."
    return "The run starts with no adapter in GPU memory, and all requests count."


def profile_rows(timing: Mapping[str, Any], asked: str) -> list[tuple[str, str]]:
    """The profile item by item, in plain text. `asked` is what the scenario names, by which the
    profile's file is found; without `extrapolates` in `timing`, nothing is said of it."""
    told = timing["profile"]
    rows = [("timing profile", f"{told} ({timing['hash']})" if "hash" in timing else told)]
    profiles = _profiles(told, asked)
    if told == ROOFLINE:
        rows.append(("date of the profile", "none: datasheet figures, not measured"))
    elif profiles:
        dates = dict.fromkeys(profile.provenance.date for profile in profiles)
        rows.append(("date of the profile", ", ".join(dates)))
        sources = dict.fromkeys(profile.provenance.source for profile in profiles)
        rows.append(("source of the profile", "; ".join(sources)))
    else:
        rows.append(("date of the profile", "not known here: its file is elsewhere"))
    rows.append(("error of the profile", error_words(timing.get("error") or {})))
    if "extrapolates" in timing:
        rows.append(("extrapolates", _beyond(timing)))
    elif timing.get("scaled_from"):
        rows.append(("scaled by the roofline from", timing["scaled_from"]))
    return rows


def error_words(errors: Mapping[str, float]) -> str:
    """What a profile says of itself."""
    if not errors:
        return "none stated: nothing was measured to compare with"
    told = (f"{name.replace('_', ' ')} {share(error)}" for name, error in errors.items())
    return f"{', '.join(told)}, on measurements it was not fitted to"


def _beyond(timing: Mapping[str, Any]) -> str:
    """Whether the run leaves what was measured, and in what."""
    told = []
    if timing.get("scaled_from"):
        told.append(f"scaled by the roofline from {timing['scaled_from']}")
    if timing["extrapolates"]:
        features = ", ".join(name.replace("_", " ") for name in timing["extrapolates"])
        told.append(f"beyond the measured range in {features}")
    if told:
        return f"yes: {'; '.join(told)}"
    if timing["profile"] == ROOFLINE:
        return "does not apply: the roofline has no measured range"
    return "no: within what was measured"


def _profiles(told: str, asked: str) -> list[Profile]:
    """The profiles that are told by name, as far as they can be found here."""
    names, shipped = told.split(", "), set(profile_names())
    places = [name for name in names if name in shipped]
    if is_profile_path(asked):
        places.append(asked)
    found = []
    for place in places:
        try:
            profile = load_profile(place)
        except UserError:
            continue
        if profile.name in names:
            found.append(profile)
    return found
