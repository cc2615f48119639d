"""Tiers drawn: attainment, promises, latency over time, and who hurts whom."""

from __future__ import annotations

import math
from collections.abc import Mapping

import altair as alt
import pandas as pd
import streamlit as st

from simlora.dashboard.charts import PERCENT, SECONDS, axis, coloured, nothing, panel
from simlora.dashboard.run_charts import latency_by_tier, ttft_over_time
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.study_tasks import TierFigures
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import escaped
from simlora.planning.harm import Harm
from simlora.report.style import BLUE, YELLOW
from simlora.report.words import counted, duration, promise, share

_MOST_AFFECTED = 15
_MOST_TIERS = 4  # with a panel over time

Runs = Mapping[str, RunFigures]


def draw(found: TierFigures) -> None:
    """Everything that the page tells."""
    runs = {"calm": found.calm}
    if found.noisy is not None:
        runs["noisy"] = found.noisy
    _promises(runs)
    left, right = st.columns(2, gap="medium")
    with left:
        attainment_by_tier(runs)
    with right:
        latency_by_tier(runs, "TTFT")
    tiers = [
        name
        for name, tier in found.calm.summary["tiers"].items()
        if tier["requests"]["offered"] and len(found.calm.ttft)
    ]
    for first in range(0, min(len(tiers), _MOST_TIERS), 2):
        columns = st.columns(2, gap="medium")
        for column, tier in zip(columns, tiers[first : first + 2], strict=False):
            with column:
                ttft_over_time(runs, tier)
    st.subheader("Who hurts whom")
    _harm(found.harm)


def attainment_by_tier(runs: Runs) -> None:
    """Share of requests within every promised bound."""
    rows = [
        {
            "run": run,
            "tier": name,
            "kept": tier["sla_attainment"],
            "told": share(tier["sla_attainment"]),
        }
        for run, figures in runs.items()
        for name, tier in figures.summary["tiers"].items()
        if tier["sla_attainment"] is not None
    ]
    title = "Requests within every promise"
    about = "Of each tier, the share of its requests that kept every bound it promises."
    if not rows:
        nothing(title, about, "No tier of this scenario promises anything: set one in the sidebar.")
        return
    least = min(row["kept"] for row in rows)
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            x=alt.X(
                "kept:Q",
                scale=alt.Scale(domain=[min(least, 0.95), 1.0], nice=True, padding=10),
                axis=axis("share of the tier's requests", PERCENT, tickCount=5),
            ),
            y=alt.Y("tier:N", sort=None, axis=axis(None, labelLimit=90)),
            yOffset=alt.YOffset("run:N", sort=list(runs)),
            color=coloured("run", list(runs), [BLUE, YELLOW]),
            tooltip=["tier:N", "run:N", alt.Tooltip("told:N", title="within promises")],
        )
    )
    tiers = len({row["tier"] for row in rows})
    panel(title, about, chart, 20 + 22 * tiers * len(runs), list(runs))


def _promises(runs: Runs) -> None:
    """Each promise, and of each run what was measured and whether it is met."""
    heads = list(runs) if len(runs) > 1 else ["measured"]
    measured: dict[tuple[str, str], dict[str, str]] = {}
    for run, figures in zip(heads, runs.values(), strict=True):
        for name, tier in figures.summary["tiers"].items():
            for bound, entry in tier["sla"].items():
                asked, value, verdict = promise(bound, entry)
                told = {"met": f"✓ {value}", "missed": f"✗ {value}", "open": f"? {value}"}
                measured.setdefault((name, asked), {})[run] = told.get(verdict, verdict)
    if not measured:
        return
    st.markdown(
        "**Promises**",
        help="Each with what was measured of the same figure in each run. ✓: met. ✗: missed. "
        "?: too few requests completed to say.",
    )
    about = {"calm": "Measured without the burst.", "noisy": "Measured with the burst."}
    about["measured"] = "Of the same figure in this run."
    show_table(
        pd.DataFrame(
            [
                {"tier": name, "promise": asked, **{run: of.get(run, "—") for run in heads}}
                for (name, asked), of in measured.items()
            ]
        ),
        {
            "tier": st.column_config.TextColumn(help="The SLA tier."),
            "promise": st.column_config.TextColumn(help="What the tier promises.", width=130),
            **{
                run: st.column_config.TextColumn(
                    help=f"{about[run]} ✓: met, ✗: missed, ?: too few requests completed to say.",
                    width=75,
                )
                for run in heads
            },
        },
    )


def _harm(found: Harm) -> None:
    if not found.requests:
        st.info(f"{found.tenant} has no request in this run, so that nothing changes without it.")
        return
    st.markdown(
        escaped(
            f"With and without the {counted(found.requests, 'request')} of {found.tenant} in "
            f"{counted(len(found.seeds), 'replication')}; everybody else's requests arrive as "
            "before."
        )
    )
    left, right = st.columns(2, gap="medium")
    with left:
        _groups(found)
    with right:
        _affected(found)


def _groups(found: Harm) -> None:
    """The others by tier, with and without the tenant."""
    tiers = found.of("tier")
    frames = [found.of("all")] + ([tiers] if len(tiers) > 1 else [])
    rows = []
    for _, row in pd.concat(frames).iterrows():
        name = "all others" if row["scope"] == "all" else f"tier {row['name']}"
        for key, label in (("ttft_p99_without_s", "without"), ("ttft_p99_with_s", "with")):
            if not math.isnan(row[key]):
                rows.append(
                    {
                        "others": name,
                        "tenant": label,
                        "p99_s": row[key],
                        "told": duration(float(row[key])),
                        "change": _change(row),
                    }
                )
    title = f"TTFT p99 of the others, with and without {found.tenant}"
    about = (
        "p99 time to first token of the others' completed requests, mean over the replications; "
        "the tip tells the difference with its 95 % interval."
    )
    if not rows:
        nothing(title, about, "Nobody else's requests completed.")
        return
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X("p99_s:Q", axis=axis("TTFT p99", SECONDS, tickCount=5)),
            y=alt.Y("others:N", sort=None, axis=axis(None, labelLimit=100)),
            yOffset=alt.YOffset("tenant:N", sort=["without", "with"]),
            color=coloured("tenant", ["without", "with"], [BLUE, YELLOW]),
            tooltip=[
                "others:N",
                "tenant:N",
                alt.Tooltip("told:N", title="TTFT p99"),
                alt.Tooltip("change:N", title="change"),
            ],
        )
    )
    groups = len({row["others"] for row in rows})
    panel(title, about, chart, 20 + 44 * groups, ["without", "with"])


def _affected(found: Harm) -> None:
    """The tenants that suffer most."""
    affected = found.most_affected(_MOST_AFFECTED)
    title = "Most affected tenants"
    about = (
        "By how many seconds each tenant's p99 time to first token grew. The p99 of a tenant with "
        "few requests is its slowest one, and chance has a part in it."
    )
    if not len(affected):
        nothing(title, about, "No other tenant's p99 grew.")
        return
    table = affected.assign(
        told=[duration(float(value)) for value in affected["change_s"]],
        before=[duration(float(value)) for value in affected["ttft_p99_without_s"]],
        after=[duration(float(value)) for value in affected["ttft_p99_with_s"]],
    )[["name", "tier", "requests", "change_s", "told", "before", "after"]]
    tiers = list(dict.fromkeys(table["tier"].astype(str)))
    chart = (
        alt.Chart(table)
        .mark_bar()
        .encode(
            x=alt.X("change_s:Q", axis=axis("TTFT p99 grew by", SECONDS, tickCount=5)),
            y=alt.Y("name:N", sort=None, axis=axis(None, labelLimit=120, labelOverlap=False)),
            color=coloured("tier", tiers),
            tooltip=[
                alt.Tooltip("name:N", title="tenant"),
                "tier:N",
                alt.Tooltip("requests:Q", format=","),
                alt.Tooltip("told:N", title="grew by"),
                alt.Tooltip("before:N", title="p99 without"),
                alt.Tooltip("after:N", title="p99 with"),
            ],
        )
    )
    panel(title, about, chart, 10 + 20 * len(table), tiers)


def _change(row: pd.Series) -> str:
    change_s, low_s, high_s = row["change_s"], row["low_s"], row["high_s"]
    if math.isnan(change_s):
        return "—"
    told = f"{'+' if change_s > 0 else ''}{duration(float(change_s))}"
    if math.isnan(low_s) or low_s == high_s:
        return told
    return f"{told} ± {duration(float(high_s - low_s) / 2)}"
