"""Two results, figure by figure: a prediction beside a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import streamlit as st

from simlora.dashboard.fidelity_charts import error_bars
from simlora.dashboard.fidelity_words import grade
from simlora.dashboard.run_files import run_directories, told, uploaded_result
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped, show_mistake
from simlora.errors import UserError
from simlora.report.words import duration, number, share
from simlora.results.result import Result, load_result
from simlora.validation.compare import Comparison, compare_results

# Figures of a summary that are drawn: what they are called, and what says their values.
_HEADLINES: Mapping[str, tuple[str, Callable[[float | None], str]]] = {
    "throughput.requests_per_s": ("Requests/s", number),
    "throughput.output_tokens_per_s": ("Output tokens/s", number),
    "latency.ttft_s.p50": ("TTFT p50", duration),
    "latency.ttft_s.p99": ("TTFT p99", duration),
    "latency.tpot_s.p50": ("TPOT p50", duration),
    "latency.tpot_s.p99": ("TPOT p99", duration),
    "latency.e2e_s.p50": ("E2E p50", duration),
    "latency.e2e_s.p99": ("E2E p99", duration),
    "adapters.hit_ratio": ("Found hot", share),
    "batch.mean_running": ("Running, mean", number),
}
_SEEN = 10  # of all figures at once


def show() -> None:
    """Draw the section."""
    sources = ["result directories in ./runs", "uploaded summary.json files"]
    source = st.radio("Compare", sources, horizontal=True, key="fidelity_source")
    try:
        pair = _chosen() if source == sources[0] else _uploaded()
        if pair is None:
            return
        found = compare_results(*pair)
    except UserError as error:
        show_mistake(error)
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
            "metric": label,
            "error": known[name].error,
            "told": f"{100 * (known[name].error or 0.0):+.1f} %".replace("-", "−"),
            "predicted": words(known[name].predicted),
            "measured": words(known[name].measured),
            "grade": grade(known[name].error or 0.0),
        }
        for name, (label, words) in _HEADLINES.items()
        if name in known and known[name].error is not None
    ]
    if rows:
        error_bars(
            pd.DataFrame(rows),
            "Error of the prediction",
            "(predicted - measured) / measured, figure by figure of summary.json. Running: the "
            "mean number of requests in a batch.",
            ("predicted", "measured"),
        )
    with st.expander("Every figure of the two summaries"):
        _figures(found)


def _figures(found: Sequence[Comparison]) -> None:
    show_table(
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
        {
            "figure": st.column_config.TextColumn(
                help="Its place in summary.json, unit included: times are seconds, sizes bytes."
            ),
            "predicted": st.column_config.NumberColumn(format="%.4g", help="In its own unit."),
            "measured": st.column_config.NumberColumn(format="%.4g", help="In its own unit."),
            "error": st.column_config.NumberColumn(
                "error (%)", format="%+.1f", help="(predicted - measured) / measured, percent."
            ),
        },
        _SEEN,
    )
