"""A plan drawn: the fleet, what shows that it is enough, what else there is, how to start it."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard import state
from simlora.dashboard.charts import SECONDS, USD, axis, panel, run_colours
from simlora.dashboard.plan_figures import PlanFigures
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped
from simlora.errors import UserError
from simlora.report.style import BLUE
from simlora.report.words import duration, share, usd

_HEADS = {
    "tier": "The SLA tier.",
    "promise": "What it promises.",
    "worst run": "The worst that was measured in any of the runs.",
    "requests": "Requests that were judged, in all runs.",
    "broken": "Share of them that broke the promise.",
    "at most": "Upper confidence bound of that share.",
    "allowed": "Share that the promise lets break it.",
}


def draw(found: PlanFigures) -> None:
    """Everything that the page tells."""
    if found.best is None:
        st.warning("No fleet of these keeps every promise.")
    else:
        above = "" if found.within_budget else ", above the budget"
        told = f"**{escaped(found.best)}**, {escaped(usd(found.usd_per_month))} a month{above}"
        (st.success if found.within_budget else st.warning)(told)
    for sentence in found.sentences:
        st.markdown(escaped(sentence))
    if found.scenario is not None:
        st.button(
            "Take this fleet over",
            on_click=_take_over,
            args=(found,),
            icon=":material/input:",
            help="Make it the sidebar's scenario, to simulate and to keep.",
        )
    if len(found.evidence):
        st.markdown(
            "**What shows that it is enough**",
            help="Promise by promise, over runs on seeds that had no part in choosing the fleet.",
        )
        show_table(
            found.evidence,
            {name: st.column_config.TextColumn(help=about) for name, about in _HEADS.items()},
        )
    _fleets(found.fleets)
    if found.servers:
        with st.expander("How to start a replica"):
            for name, checked, notes, line in found.servers:
                st.markdown(escaped(f"{name}: {'; '.join((f'options of {checked}', *notes))}."))
                st.code(line, language="bash")
    st.caption(escaped(found.effort))


def _take_over(found: PlanFigures) -> None:
    if found.scenario is None:
        return
    try:
        state.take_over(found.scenario)
    except UserError as error:
        st.session_state["load_mistake"] = str(error)


def _fleets(fleets: pd.DataFrame) -> None:
    """Cost against latency of all fleets that were confirmed."""
    known = fleets.dropna(subset=["ttft_p99_s"])
    if not len(known):
        return
    table = known.assign(
        told_usd=[usd(float(value)) for value in known["usd"]],
        told_s=[duration(float(value)) for value in known["ttft_p99_s"]],
        told_used=[share(float(value)) for value in known["used"]],
    )
    base = alt.Chart(table).encode(
        x=alt.X(
            "usd:Q",
            scale=alt.Scale(zero=False, padding=40),
            axis=axis("USD a month", USD, tickCount=5),
        ),
        y=alt.Y(
            "ttft_p99_s:Q",
            scale=alt.Scale(zero=False, padding=24),
            axis=axis("TTFT p99", SECONDS, tickCount=5),
        ),
    )
    tips = [
        "fleet:N",
        alt.Tooltip("told_usd:N", title="USD a month"),
        alt.Tooltip("told_s:N", title="TTFT p99"),
        alt.Tooltip("told_used:N", title="of a bound used"),
    ]
    names = list(table["fleet"])
    chart = base.mark_point(filled=True, size=110, opacity=1).encode(
        color=alt.Color(
            "fleet:N",
            scale=alt.Scale(domain=names, range=run_colours(names) if len(names) > 1 else [BLUE]),
            legend=alt.Legend(orient="bottom", title=None, columns=1, labelLimit=270, padding=0),
        ),
        tooltip=tips,
    )
    panel(
        "Fleets that keep every promise: cost against TTFT p99",
        "Each was confirmed on further seeds; p99 time to first token over all tiers, mean of "
        "these runs.",
        chart,
        190 + 20 * len(names),
    )
