"""Fidelity: what timing profiles state of their errors, and a prediction beside a measurement."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import PERCENT, axis, coloured, panel
from simlora.dashboard.run_files import run_directories, told, uploaded_result
from simlora.dashboard.verdict import escaped
from simlora.errors import UserError
from simlora.report.style import BLUE, GREEN, RED
from simlora.report.words import share
from simlora.results.result import Result, load_result
from simlora.timing.profile import Profile, load_profile, profile_names
from simlora.validation.compare import Comparison, compare_results

_FEATURES = {
    "slots": ("adapter slots", "Slots of GPU memory that adapters may take."),
    "max_rank": ("largest rank", "The rank that slots or adapters are made for."),
    "distinct_adapters": ("distinct adapters", "Adapters in one batch."),
    "running": ("running requests", "Requests in one batch."),
    "tokens": ("tokens of a step", "Prefill and decode tokens in one step."),
    "attended_tokens": ("attended tokens", "Tokens of context that a step's attention reads."),
    "passed_over": ("requests passed over", "Waiting requests whose adapters have no slot."),
}
_GOOD, _FAIR = 0.05, 0.15  # relative errors, that the colours tell apart
_HEADLINES = (
    "throughput.requests_per_s",
    "throughput.output_tokens_per_s",
    "latency.ttft_s.p50",
    "latency.ttft_s.p99",
    "latency.tpot_s.p50",
    "latency.tpot_s.p99",
    "latency.e2e_s.p50",
    "latency.e2e_s.p99",
    "adapters.hit_ratio",
    "batch.mean_running",
)


def show() -> None:
    """Draw the page."""
    st.title("Fidelity")
    st.caption(
        "How far predictions are from measurements: what each shipped timing profile states of "
        "itself, and any run of yours beside the measured one."
    )
    st.subheader("Shipped profiles")
    name = st.selectbox(
        "Timing profile",
        profile_names(),
        key="profile",
        help="Fitted to published measurements of a real server; used where the fleet is like it.",
    )
    _profile(load_profile(name))
    st.subheader("Your own: predicted beside measured")
    _compare()


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
        st.markdown(
            "**Range of the measurements**",
            help="Where a run leaves this range, its result says so: trust comparisons there more "
            "than absolute figures.",
        )
        rows = []
        for feature, (least, most) in profile.holds_for.items():
            label, about = _FEATURES.get(feature, (feature.replace("_", " "), ""))
            rows.append(
                {
                    "feature": label,
                    "least": f"{least:,.0f}",
                    "most": f"{most:,.0f}",
                    "what it is": about,
                }
            )
        if rows:
            st.table(pd.DataFrame(rows).set_index("feature"))
        else:
            st.caption("The profile states no range.")


def _stated_errors(profile: Profile) -> None:
    if not profile.error:
        st.caption("The profile states no error: nothing was left out of its fit.")
        return
    table = pd.DataFrame(
        {
            "metric": [name.replace("_", " ") for name in profile.error],
            "error": list(profile.error.values()),
            "told": [share(error) for error in profile.error.values()],
            "grade": [_grade(error) for error in profile.error.values()],
        }
    )
    grades, colours = _grades(table["grade"])
    chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("error:Q", axis=axis("relative error", PERCENT, tickCount=5)),
            y=alt.Y("metric:N", sort=None, axis=axis(None, labelLimit=150)),
            color=coloured("grade", grades, colours),
            tooltip=[
                alt.Tooltip("metric:N"),
                alt.Tooltip("told:N", title="error"),
            ],
        )
    )
    panel(
        "Error on runs left out of the fit",
        "Predicted against measured, relative, on measurements that the fit did not see. median "
        "and mean: of |p - m| / m; smape: mean of 2 |p - m| / (|p| + |m|).",
        chart,
        10 + 28 * len(table),
        grades,
    )


def _compare() -> None:
    sources = ["result directories in ./runs", "uploaded summary.json files"]
    source = st.radio("Compare", sources, horizontal=True, key="fidelity_source")
    try:
        pair = _chosen() if source == sources[0] else _uploaded()
        if pair is None:
            return
        found = compare_results(*pair)
    except UserError as error:
        st.error(str(error))
        return
    _draw(found, pair)


def _chosen() -> tuple[Result, Result] | None:
    directories = run_directories()
    if len(directories) < 2:
        st.info(
            "There are fewer than two result directories in ./runs. Write them with "
            "`simlora run SCENARIO --out runs/predicted` and `simlora live SCENARIO --out "
            "runs/measured`, or upload two summary.json files."
        )
        return None
    left, right = st.columns(2, gap="medium")
    predicted = left.selectbox(
        "Predicted", directories, format_func=told, key="predicted", help="What `run` wrote."
    )
    measured = right.selectbox(
        "Measured",
        directories,
        index=1,
        format_func=told,
        key="measured",
        help="What `live` wrote, or another run.",
    )
    return load_result(predicted), load_result(measured)


def _uploaded() -> tuple[Result, Result] | None:
    left, right = st.columns(2, gap="medium")
    predicted = left.file_uploader("Predicted (summary.json)", ["json"], key="predicted_file")
    measured = right.file_uploader("Measured (summary.json)", ["json"], key="measured_file")
    if predicted is None or measured is None:
        st.info("Upload the summary.json of both result directories.")
        return None
    return (
        uploaded_result(predicted.name, predicted.getvalue()),
        uploaded_result(measured.name, measured.getvalue()),
    )


def _draw(found: Sequence[Comparison], pair: tuple[Result, Result]) -> None:
    names = [str(result.summary.get("name")) for result in pair]
    if names[0] != names[1]:
        st.warning(
            escaped(
                f"These are runs of two scenarios, {names[0]} and {names[1]}: what differs is "
                "not only the prediction."
            )
        )
    known = {line.metric: line for line in found}
    rows = [
        {
            "metric": name,
            "error": known[name].error,
            "told": f"{100 * (known[name].error or 0.0):+.1f} %".replace("-", "−"),
            "predicted": _figure(known[name].predicted),
            "measured": _figure(known[name].measured),
            "grade": _grade(known[name].error or 0.0),
        }
        for name in _HEADLINES
        if name in known and known[name].error is not None
    ]
    if rows:
        table = pd.DataFrame(rows)
        grades, colours = _grades(table["grade"])
        chart = (
            alt.Chart(table)
            .mark_bar()
            .encode(
                x=alt.X("error:Q", axis=axis("(predicted - measured) / measured", PERCENT)),
                y=alt.Y("metric:N", sort=None, axis=axis(None, labelLimit=190)),
                color=coloured("grade", grades, colours),
                tooltip=[
                    "metric:N",
                    alt.Tooltip("told:N", title="error"),
                    "predicted:N",
                    "measured:N",
                ],
            )
        )
        panel(
            "Error of the prediction",
            "Relative to what was measured, figure by figure of summary.json. Times are seconds.",
            chart,
            10 + 24 * len(rows),
            grades,
        )
    st.markdown("**Every figure of the two summaries**", help="Times are seconds, sizes bytes.")
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "figure": line.metric,
                    "predicted": line.predicted,
                    "measured": line.measured,
                    "error": None if line.error is None else 100 * line.error,
                }
                for line in found
            ]
        ),
        hide_index=True,
        width="stretch",
        column_config={
            "figure": st.column_config.TextColumn(help="Its place in summary.json, unit included."),
            "predicted": st.column_config.NumberColumn(format="%.4g", help="In its own unit."),
            "measured": st.column_config.NumberColumn(format="%.4g", help="In its own unit."),
            "error": st.column_config.NumberColumn(
                "error (%)", format="%+.1f", help="(predicted - measured) / measured, percent."
            ),
        },
    )


def _grade(error: float) -> str:
    if abs(error) <= _GOOD:
        return f"within {share(_GOOD)}"
    return f"within {share(_FAIR)}" if abs(error) <= _FAIR else "further off"


def _grades(found: pd.Series) -> tuple[list[str], list[str]]:
    """The grades that occur, the best first, with their colours."""
    order = {_grade(_GOOD): GREEN, _grade(_FAIR): BLUE, _grade(1.0): RED}
    kept = [name for name in order if name in set(found)]
    return kept, [order[name] for name in kept]


def _figure(value: float | None) -> str:
    return "—" if value is None else f"{value:,.4g}"
