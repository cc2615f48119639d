"""What the shipped timing profiles state of their errors, and of what they were measured in."""

from __future__ import annotations

from typing import get_args

import pandas as pd
import streamlit as st

from simlora.dashboard.fidelity_charts import error_bars
from simlora.dashboard.fidelity_words import FEATURES, feature, grade
from simlora.dashboard.text import escaped, unbroken
from simlora.report.words import duration, share
from simlora.timing.profile import Feature, Profile, load_profile, profile_names

# An error of the table over all profiles: what it is of, and how profiles begin its name, the
# first of these that a profile states.
_STATED = {
    "throughput": ("throughput",),
    "TPOT or latency": ("tpot", "latency", "step"),
    "TTFT": ("ttft_underloaded", "ttft", "first_token"),
}


def show() -> None:
    """Draw the section."""
    names = profile_names()
    _overview([load_profile(name) for name in names])
    name = st.selectbox(
        "Timing profile",
        names,
        key="profile",
        help="Fitted to published measurements of a real server; used where the fleet is like it.",
    )
    _profile(load_profile(name))


def stated(profile: Profile, beginnings: tuple[str, ...]) -> str:
    """The first error that a profile states of those names: `1.3 % (median)`."""
    for beginning in beginnings:
        for name, error in profile.error.items():
            if name.startswith(beginning):
                kind = name.rpartition("_")[2]
                return f"{share(error)} ({'SMAPE' if kind == 'smape' else kind})"
    return "none stated"


def _overview(profiles: list[Profile]) -> None:
    """All of them side by side."""
    st.markdown(
        "**Errors that they state**",
        help="On runs left out of the fit; which kind of error, in brackets. Throughput: tokens/s. "
        "TPOT or latency: the time per output token or, of S-LoRA, of a request. TTFT: the time to "
        "first token; of vLLM, in runs that keep up.",
    )
    table = pd.DataFrame(
        [
            {
                "profile": profile.name,
                **{what: unbroken(stated(profile, names)) for what, names in _STATED.items()},
            }
            for profile in profiles
        ]
    )
    st.table(table.set_index("profile"))


def _profile(profile: Profile) -> None:
    st.markdown(
        escaped(
            f"{profile.server} on {profile.measured_on}. {profile.provenance.source}. "
            f"{profile.provenance.rows} measurements, fitted on {profile.provenance.date} by "
            f"simlora {profile.provenance.simlora}."
        )
    )
    left, right = st.columns(2, gap="medium")
    with left:
        _stated_errors(profile)
    with right:
        _range(profile)


def _range(profile: Profile) -> None:
    st.markdown(
        "**Range of the measurements**",
        help="Where a run leaves this range, its result says so: trust comparisons there more "
        "than absolute figures.",
    )
    rows = [
        {
            "feature": feature(name),
            "least": f"{least:,.0f}",
            "most": f"{most:,.0f}",
            "what it is": FEATURES[name][1],
        }
        for name, (least, most) in profile.holds_for.items()
    ]
    if rows:
        st.table(pd.DataFrame(rows).set_index("feature"))
    untold = [feature(name) for name in get_args(Feature) if name not in profile.holds_for]
    if untold:
        st.caption(
            f"The measurements tell no range of: {', '.join(untold)}. A run that goes beyond them "
            "there is not told so."
        )
    if profile.request_overhead_s:
        st.caption(
            f"Outside the engine a request spends {duration(profile.request_overhead_s)} (client, "
            "HTTP, tokenizer), which predictions of the time to first token include."
        )


def _stated_errors(profile: Profile) -> None:
    if not profile.error:
        st.caption("The profile states no error: nothing was left out of its fit.")
        return
    table = pd.DataFrame(
        {
            "metric": [name.replace("_", " ") for name in profile.error],
            "error": list(profile.error.values()),
            "told": [share(error) for error in profile.error.values()],
            "grade": [grade(error) for error in profile.error.values()],
        }
    )
    error_bars(
        table,
        "Error on runs left out of the fit",
        "Predicted against measured, relative, on measurements that the fit did not see. median "
        "and mean: of |p - m| / m; smape: mean of 2 |p - m| / (|p| + |m|).",
    )
