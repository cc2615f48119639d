"""The five panels that an operator watches, for one run or several: p99 by adapter, cold loads,
GPU memory by adapter, promises by tenant and cost by tenant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import (
    GB,
    PERCENT,
    SECONDS,
    USD,
    axis,
    coloured,
    log_axis,
    nothing,
    panel,
)
from simlora.dashboard.kpis import KPIS
from simlora.dashboard.run_charts import memory_over_time, over_time
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped
from simlora.dashboard.verdict import show_words
from simlora.report.fleet_words import fleet_words
from simlora.report.measured import from_outside
from simlora.report.words import duration, share, size, usd

_MOST_BARS = 12
_OF = " of run "  # in what tells the bars of several runs apart, and is left out of their labels
_NAME = f"split(datum.label, '{_OF}')[0]"
_LOG_FROM = 30.0  # largest over least, from where on bars would all be dots but one

Runs = Mapping[str, RunFigures]


def draw(runs: Runs) -> None:
    """The key figures side by side, the panels, and what limits each run."""
    _key_figures(runs)
    left, right = st.columns(2, gap="medium")
    with left:
        _p99_by_adapter(runs)
        _memory_by_adapter(runs)
        _cost_by_tenant(runs)
    with right:
        over_time(
            runs,
            "cold_per_s",
            "Cold-load rate",
            "Requests per second whose adapter was not in GPU memory when they came, so that it "
            "had to be loaded; requests for the same adapter share a load.",
            "cold lookups/s",
        )
        _sla_by_tenant(runs)
        if len(runs) == 1:
            _memory_by_owner(runs)
    if len(runs) > 1:
        _memory_by_owner(runs)
    for name, figures in runs.items():
        st.markdown(escaped(f"{name}: {fleet_words(figures.summary['simulation'])}"))
        show_words(figures)


def _memory_by_owner(runs: Runs) -> None:
    """A panel a run, those of several runs in pairs."""
    # Of a run that was measured from outside, nobody knows it.
    known = [run for run, figures in runs.items() if not from_outside(figures.summary)]
    for first in range(0, len(known), 2):
        columns = st.columns(min(len(runs), 2), gap="medium")
        for column, run in zip(columns, known[first : first + 2], strict=False):
            of = f": {run}" if len(runs) > 1 else ""
            with column:
                memory_over_time(runs[run], f"GPU memory by owner{of}")


def _key_figures(runs: Runs) -> None:
    rows = [
        {
            "figure": kpi.label,
            **{name: kpi.told(kpi.of(figures.summary)) for name, figures in runs.items()},
        }
        for kpi in KPIS
    ]
    st.markdown("**Key figures**", help="\n".join(f"- {kpi.label}: {kpi.help}" for kpi in KPIS))
    show_table(
        pd.DataFrame(rows),
        {
            "figure": st.column_config.TextColumn(pinned=True, width=115, help="With its unit."),
            **{
                name: st.column_config.TextColumn(width=110, help=f"Of the run {name}.")
                for name in runs
            },
        },
    )


def _p99_by_adapter(runs: Runs) -> None:
    """The slowest adapters of each run."""
    title = "TTFT p99 by adapter, the slowest"
    about = (
        "99th percentile of the time to first token of an adapter's requests; of one with few "
        "requests it is the slowest one."
    )
    rows: list[dict[str, Any]] = []
    for run, figures in runs.items():
        slowest = figures.adapters.dropna(subset=["ttft_p99_s"]).nlargest(_most(runs), "ttft_p99_s")
        for row in slowest.itertuples():
            rows.append(
                {
                    "run": run,
                    "adapter": row.adapter,
                    "tier": row.tier,
                    "requests": row.requests,
                    "p99_s": row.ttft_p99_s,
                    "told": duration(float(row.ttft_p99_s)),
                }
            )
    values = [float(row["p99_s"]) for row in rows]
    x = alt.X("p99_s:Q", axis=axis("TTFT p99", SECONDS, tickCount=5))
    if values and max(values) > _LOG_FROM * min(values):
        x = alt.X("p99_s:Q", **log_axis("TTFT p99 (log scale)", values, SECONDS))
    _bars(
        rows,
        runs,
        title,
        about,
        x,
        [alt.Tooltip("requests:Q", format=","), alt.Tooltip("told:N", title="TTFT p99")],
    )


def _memory_by_adapter(runs: Runs) -> None:
    """Who holds GPU memory while requests run."""
    title = "GPU memory by adapter, in use"
    about = (
        "An adapter's size times the share of the run in which one of its requests was in a batch, "
        "summed over replicas. Idle adapters that are kept hot come on top: GPU memory by owner "
        "shows all of them."
    )
    rows = []
    for run, figures in runs.items():
        held = figures.adapters.dropna(subset=["held_gb"])
        for row in held.nlargest(_most(runs), "held_gb").itertuples():
            rows.append(
                {
                    "run": run,
                    "adapter": row.adapter,
                    "tier": row.tier,
                    "requests": row.requests,
                    "held_gb": row.held_gb,
                    "told": size(1e9 * float(row.held_gb)),
                }
            )
    _bars(
        rows,
        runs,
        title,
        about,
        alt.X("held_gb:Q", axis=axis("mean GPU memory in use", GB, tickCount=5)),
        [alt.Tooltip("requests:Q", format=","), alt.Tooltip("told:N", title="in use, mean")],
        "The adapters' sizes are not known: this version cannot read the scenario of the run, or "
        "no request asked for an adapter.",
    )


def _most(runs: Runs) -> int:
    """How many of each run have a bar."""
    return max(_MOST_BARS if len(runs) == 1 else 16 // len(runs), 4)


def _bars(
    rows: list[dict[str, Any]],
    runs: Runs,
    title: str,
    about: str,
    x: alt.X,
    tips: list[alt.Tooltip],
    why: str = "No request asked for an adapter.",
    whose: str = "adapter",
) -> None:
    """Bars by adapter or by tenant, those of several runs one below the other."""
    if not rows:
        nothing(title, about, why)
        return
    table = pd.DataFrame(rows)
    field = "run" if len(runs) > 1 else "tier"
    names = list(runs) if len(runs) > 1 else sorted(set(table["tier"]))
    table["where"] = table[whose] + _OF + table["run"]
    base = alt.Chart(table)
    # A bar has no length on a logarithmic scale.
    log = "scale" in x.to_dict()
    chart = (base.mark_point(filled=True, size=70, opacity=1) if log else base.mark_bar()).encode(
        x=x,
        y=alt.Y("where:N", sort=None, axis=axis(None, _NAME, labelLimit=150, labelOverlap=False)),
        color=coloured(field, names),
        tooltip=[f"{whose}:N", "run:N", "tier:N", *tips],
    )
    panel(title, about, chart, 10 + 20 * len(table), names)


def _sla_by_tenant(runs: Runs) -> None:
    """Attainment of the tenants of each run, the worst first."""
    title = "Promises kept, by tenant"
    about = (
        "Share of a tenant's requests within every bound that its tier promises; tenants from the "
        "worst to the best."
    )
    parts = []
    for run, figures in runs.items():
        known = figures.tenants.dropna(subset=["sla_attainment"])
        known = known.sort_values("sla_attainment", kind="stable").reset_index(drop=True)
        if len(known):
            every = max(len(known) // 300, 1)
            parts.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "place": known.index + 1,
                        "tenant": known["tenant"].astype(str),
                        "tier": known["tier"].astype(str),
                        "kept": known["sla_attainment"],
                        "told": [share(float(value)) for value in known["sla_attainment"]],
                    }
                ).iloc[::every]
            )
    if not parts:
        nothing(title, about, "No tier of these runs promises anything.")
        return
    chart = (
        alt.Chart(pd.concat(parts))
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("place:Q", axis=axis("tenants, the worst first", tickCount=6)),
            y=alt.Y(
                "kept:Q",
                scale=alt.Scale(zero=False),
                axis=axis("requests within promises", PERCENT, tickCount=5),
            ),
            color=coloured("run", list(runs)),
            tooltip=[
                "run:N",
                "tenant:N",
                "tier:N",
                alt.Tooltip("told:N", title="within promises"),
            ],
        )
    )
    panel(title, about, chart, names=list(runs))


def _cost_by_tenant(runs: Runs) -> None:
    """What the dearest tenants cost."""
    title = "Cost by tenant, the dearest"
    about = (
        "The tenant's share of what the fleet cost over the run, by the scenario's attribution "
        "method (GPU-seconds unless it says otherwise); all tenants' shares add up to the bill."
    )
    rows = []
    for run, figures in runs.items():
        dearest = figures.tenants.nlargest(_most(runs), "cost_usd")
        total = float(figures.tenants["cost_usd"].sum()) or 1.0
        for row in dearest.itertuples():
            rows.append(
                {
                    "run": run,
                    "tenant": str(row.tenant),
                    "tier": str(row.tier),
                    "requests": row.offered,
                    "usd": row.cost_usd,
                    "told": f"{usd(float(row.cost_usd))}, {share(float(row.cost_usd) / total)}",
                }
            )
    _bars(
        rows,
        runs,
        title,
        about,
        alt.X("usd:Q", axis=axis("USD over the run", USD, tickCount=5)),
        [alt.Tooltip("requests:Q", format=","), alt.Tooltip("told:N", title="cost, of the bill")],
        whose="tenant",
    )
