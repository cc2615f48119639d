"""Charts of one run, or of several beside each other; runs are given by the names of a legend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from simlora.dashboard.charts import (
    GB,
    PERCENT,
    PURPLE,
    SECONDS,
    axis,
    coloured,
    log_axis,
    nothing,
    panel,
    stacked_runs,
    time_axis,
)
from simlora.dashboard.run_figures import RunFigures
from simlora.report.style import BLUE, CYAN, GREEN, GREY, RED, YELLOW
from simlora.report.words import duration, share

Runs = Mapping[str, RunFigures]

_NO_GAUGES = "Nothing was sampled over time in this run."
METRICS = {
    "TTFT": ("ttft_s", "time to first token", "ttft_p99_s"),
    "TPOT": ("tpot_s", "time per output token after the first", "tpot_p99_s"),
    "E2E": ("e2e_s", "time from arrival to the last token", "e2e_p99_s"),
}
PHASES = {
    "queue_s": ("queue", RED),
    "adapter_wait_s": ("adapter wait", YELLOW),
    "prefill_s": ("prefill", CYAN),
    "decode_s": ("decode", BLUE),
    "preempted_s": ("preempted", PURPLE),
}
OWNERS = {
    "adapter_gb": ("adapters", YELLOW),
    "kv_gb": ("KV of requests", BLUE),
    "prefix_gb": ("cached prefixes", CYAN),
    "free_gb": ("free", GREY),
}
SOURCES = {
    "hot": ("GPU memory", BLUE),
    "warm": ("host memory", YELLOW),
    "nvme": ("local disk", CYAN),
    "store": ("object storage", RED),
}


def latency_by_tier(runs: Runs, metric: str) -> None:
    """Median to p99 of each tier, and what is promised."""
    key, words, bound = METRICS[metric]
    rows: list[dict[str, Any]] = []
    promises: list[dict[str, Any]] = []
    for run, figures in runs.items():
        for name, tier in _asking(figures).items():
            if tier[key]["p99"] is None:
                continue
            rows.append(
                {
                    "run": run,
                    "tier": name,
                    "p50": tier[key]["p50"],
                    "p99": tier[key]["p99"],
                    "median": duration(tier[key]["p50"]),
                    "99th percentile": duration(tier[key]["p99"]),
                }
            )
            entry = tier["sla"].get(bound)
            if entry is not None:
                promises.append(
                    {
                        "run": run,
                        "tier": name,
                        "promised": entry["promised"],
                        "promise": duration(entry["promised"]),
                    }
                )
    title, about = (
        f"{metric} by tier: median to p99",
        (
            f"{words.capitalize()}, of completed requests: the open end is the median, the full "
            "one the 99th percentile. The green line is what the tier promises for its p99."
        ),
    )
    if not rows:
        nothing(title, about, "No request completed.")
        return
    table = pd.DataFrame(rows)
    y = alt.Y("tier:N", sort=None, axis=axis(None, labelLimit=90))
    offset = alt.YOffset("run:N", sort=list(runs))
    ends = [row[end] for row in rows for end in ("p50", "p99")]
    ends += [row["promised"] for row in promises]
    look = log_axis(f"{metric} (log scale)", ends, SECONDS)
    x = alt.X("p50:Q", **look)
    tips = ["tier:N", "run:N", "median:N", "99th percentile:N"]
    base = alt.Chart(table).encode(y=y, yOffset=offset, color=coloured("run", list(runs)))
    layers: list[Any] = [
        base.mark_rule(strokeWidth=3, opacity=0.6).encode(x=x, x2="p99:Q", tooltip=tips),
        base.mark_point(size=50, filled=False, opacity=1).encode(x=x, tooltip=tips),
        base.mark_point(size=70, filled=True, shape="diamond", opacity=1).encode(
            x=alt.X("p99:Q", **look), tooltip=tips
        ),
    ]
    if promises:
        layers.append(
            alt.Chart(pd.DataFrame(promises))
            .mark_tick(color=GREEN, thickness=3, size=18, opacity=1)
            .encode(
                x=alt.X("promised:Q", **look),
                y=y,
                yOffset=offset,
                tooltip=["tier:N", "run:N", alt.Tooltip("promise:N", title="promised p99")],
            )
        )
    height = 20 + 22 * len({row["tier"] for row in rows}) * len(runs)
    panel(title, about, alt.layer(*layers), height, list(runs))


def phases_by_tier(runs: Runs) -> None:
    """Where the time of a mean request goes."""
    rows = [
        {
            "run": run,
            "where": f"{name}, {run}" if len(runs) > 1 else name,
            "phase": label,
            "seconds": tier[key]["mean"],
            "mean": duration(tier[key]["mean"]),
        }
        for tier_name in dict.fromkeys(name for one in runs.values() for name in _asking(one))
        for run, figures in runs.items()
        for name, tier in _asking(figures).items()
        if name == tier_name
        for key, (label, _) in PHASES.items()
        if tier[key]["mean"]
    ]
    title, about = (
        "Where the time goes",
        (
            "The mean completed request of each tier, phase by phase: waiting for a place in a "
            "batch, waiting for its adapter, prefill, decode, and what preemptions cost."
        ),
    )
    if not rows:
        nothing(title, about, "No request completed.")
        return
    known = dict(PHASES.values())
    names = [label for label in known if any(row["phase"] == label for row in rows)]
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X("sum(seconds):Q", axis=axis("mean time of a request", SECONDS, tickCount=5)),
            y=alt.Y("where:N", sort=None, axis=axis(None, labelLimit=130)),
            color=coloured("phase", names, [known[name] for name in names]),
            order=alt.Order("index:Q"),
            tooltip=["where:N", "phase:N", "mean:N"],
        )
        .transform_calculate(index=f"indexof({names!r}, datum.phase)")
    )
    panel(title, about, chart, 10 + 28 * len({row["where"] for row in rows}), names)


def adapters_found(runs: Runs) -> None:
    """Where adapters were when their requests came."""
    rows = []
    for run, figures in runs.items():
        found = figures.summary["adapters"]["hits_by_tier"]
        total = sum(found.values())
        rows += [
            {
                "run": run,
                "place": label,
                "share": found.get(key, 0) / total,
                "told": f"{share(found.get(key, 0) / total)} ({found.get(key, 0):,})",
            }
            for key, (label, _) in SOURCES.items()
            if found.get(key, 0)
        ]
    title, about = (
        "Where adapters were found",
        (
            "Where a request's adapter was when the request reached its replica. Whatever was not "
            "in GPU memory had to be loaded first."
        ),
    )
    if not rows:
        nothing(title, about, "No request asked for an adapter.")
        return
    known = dict(SOURCES.values())
    names = [label for label in known if any(row["place"] == label for row in rows)]
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X(
                "sum(share):Q",
                axis=axis("share of adapter lookups", PERCENT, tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("run:N", sort=list(runs), axis=axis(None, labelLimit=110)),
            color=coloured("place", names, [known[name] for name in names]),
            order=alt.Order("index:Q"),
            tooltip=["run:N", "place:N", alt.Tooltip("told:N", title="lookups")],
        )
        .transform_calculate(index=f"indexof({names!r}, datum.place)")
    )
    panel(title, about, chart, 10 + 30 * len(runs), names)


def over_time(runs: Runs, column: str, title: str, about: str, label: str) -> None:
    """A gauge of the whole fleet over time, a line for each run."""
    table = stacked_runs({run: figures.gauges[["time_s", column]] for run, figures in runs.items()})
    if not len(table):
        nothing(title, about, _NO_GAUGES)
        return
    words, unit_s = time_axis(float(table["time_s"].max()))
    table = table.assign(time=table["time_s"] / unit_s)
    chart = (
        alt.Chart(table)
        .mark_line(strokeWidth=1.6)
        .encode(
            x=alt.X("time:Q", axis=axis(words, tickCount=6)),
            y=alt.Y(f"{column}:Q", axis=axis(label, tickCount=5)),
            color=coloured("run", list(runs)),
            tooltip=[
                "run:N",
                alt.Tooltip("time_s:Q", format=",.0f", title="time (s)"),
                alt.Tooltip(f"{column}:Q", format=",.3~r", title=label),
            ],
        )
    )
    panel(title, about, chart, names=list(runs))


def memory_over_time(figures: RunFigures, title: str = "GPU memory by owner") -> None:
    """The page pools of the fleet by owner."""
    about = (
        "What the page pools of the whole fleet hold, without the base model's weights. Adapters "
        "stay after use for as long as nothing else needs their pages."
    )
    if not len(figures.gauges):
        nothing(title, about, _NO_GAUGES)
        return
    words, unit_s = time_axis(float(figures.gauges["time_s"].max()))
    names = [label for label, _ in OWNERS.values()]
    table = (
        figures.gauges.rename(columns={key: label for key, (label, _) in OWNERS.items()})
        .assign(time=figures.gauges["time_s"] / unit_s)
        .melt(["time_s", "time"], names, "owner", "held_gb")
    )
    chart = (
        alt.Chart(table)
        .mark_area(opacity=0.85)
        .encode(
            x=alt.X("time:Q", axis=axis(words, tickCount=6)),
            y=alt.Y("held_gb:Q", stack=True, axis=axis("page pool", GB, tickCount=5)),
            color=coloured("owner", names, [colour for _, colour in OWNERS.values()]),
            order=alt.Order("index:Q"),
            tooltip=[
                "owner:N",
                alt.Tooltip("time_s:Q", format=",.0f", title="time (s)"),
                alt.Tooltip("held_gb:Q", format=",.3~r", title="held (GB)"),
            ],
        )
        .transform_calculate(index=f"indexof({names!r}, datum.owner)")
    )
    panel(
        title,
        about,
        chart,
        names=names,
    )


def ttft_over_time(runs: Runs, tier: str) -> None:
    """TTFT p99 of a tier by time of arrival, a line for each run."""
    table = stacked_runs(
        {
            run: figures.ttft[figures.ttft["tier"] == tier]
            for run, figures in runs.items()
            if len(figures.ttft)
        }
    )
    words, unit_s = time_axis(max(float(f.summary["simulation"]["span_s"]) for f in runs.values()))
    table = table.assign(time=table["time_s"] / unit_s, p99=table["p99_s"].map(duration))
    chart: Any = (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=16), strokeWidth=1.6)
        .encode(
            x=alt.X("time:Q", axis=axis(words, tickCount=6)),
            y=alt.Y("p99_s:Q", axis=axis("TTFT p99", SECONDS, tickCount=5)),
            color=coloured("run", list(runs)),
            tooltip=[
                "run:N",
                alt.Tooltip("time_s:Q", format=",.0f", title="arrival (s)"),
                alt.Tooltip("p99:N", title="TTFT p99"),
            ],
        )
    )
    promised = next(iter(runs.values())).summary["tiers"][tier]["sla"].get("ttft_p99_s")
    if promised is not None:
        line = alt.Chart(pd.DataFrame({"promised": [promised["promised"]]}))
        chart = chart + line.mark_rule(color=GREEN, strokeWidth=2).encode(
            y="promised:Q", tooltip=[alt.Tooltip("promised:Q", title="promised p99 (s)")]
        )
    panel(
        f"TTFT p99 of tier {tier} over time",
        "By time of arrival, of the requests that got a first token; of few requests the p99 is "
        "the slowest one. The green line is the tier's promise.",
        chart,
        140,
        list(runs),
    )


def _asking(figures: RunFigures) -> dict[str, Any]:
    """The tiers that asked for something."""
    tiers = figures.summary["tiers"].items()
    return {name: tier for name, tier in tiers if tier["requests"]["offered"]}
