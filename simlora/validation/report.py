"""The fidelity report: files of a validation, and one self-contained page about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.report.page import page
from simlora.report.plot import Plot, embedded
from simlora.report.table import grouped_table, paragraph, table, unbroken
from simlora.report.timing_words import error_words
from simlora.report.words import counted, duration, share
from simlora.timing.select import find_profile
from simlora.validation.fidelity import Bar, bars, percent, signed_percent, timing_notes
from simlora.validation.figures import save_png, scatter_figure
from simlora.validation.metrics import LABELS
from simlora.validation.rows import REGIMES
from simlora.validation.runner import Outcome

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = "predictions.parquet"
FIDELITY = "fidelity.json"
SCATTER = "scatter.png"
PAGE = "fidelity.html"

_CAPTION = (
    "One mark a run; the grey line is a perfect prediction, the band 10 % around it. TTFT leaves "
    "out runs whose client had reached its cap, ITL those whose client lagged."
)
_TERMS = (
    "Error: |predicted − measured| / measured. Bias: the median of predicted / measured − 1, so it "
    "is above 0 where predictions are too high. SMAPE: 2 |predicted − measured| / (predicted + "
    "measured). Underloaded runs completed over 95 % of what was offered, overloaded ones 50 to "
    "95 %, heavily overloaded ones less. Unflagged: neither was the client at its cap, nor did it "
    "lag."
)
_METHOD = (
    "Scenarios are made from what each run was asked to do: flags, adapters, rates, data set. "
    "KV capacity and step times come from the scenario and its timing profile; nothing measured in "
    "a run enters its own prediction. The client is part of the recipe, as it is part of the "
    "measurement: it loses requests when too many wait, and the monitor that polls the server's "
    "metrics holds up the process that answers requests."
)


def write_fidelity(
    outcomes: Sequence[Outcome], figures: dict[str, Any], directory: Path
) -> list[Path]:
    """Write predictions, figures, scatter plot and page to `directory`.

    Raises:
        UserError: it cannot be written to.
    """
    paths = [directory / name for name in (PREDICTIONS, FIDELITY, SCATTER, PAGE)]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        predictions_table(outcomes).to_parquet(paths[0], index=False)
        text = json.dumps(figures, indent=2, allow_nan=False) + "\n"
        paths[1].write_text(text, encoding="utf-8", newline="\n")
        save_png(scatter_figure(outcomes), paths[2])
        paths[3].write_text(_page(outcomes, figures), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(
            f"{directory}: cannot write the report: {error.strerror or error}"
        ) from error
    return paths


def predictions_table(outcomes: Sequence[Outcome]) -> pd.DataFrame:
    """One row a run: what was asked, predicted and measured."""
    import pandas as pd

    rows = []
    for outcome in outcomes:
        run, predicted = outcome.run, outcome.predicted
        row: dict[str, Any] = {
            name: value
            for name, value in asdict(run).items()
            if name not in ("measured", "ranks", "rates_rps")
        }
        row["ranks"] = "|".join(map(str, run.ranks))
        row["rates_rps"] = "|".join(f"{rate:g}" for rate in run.rates_rps)
        row |= {
            "predicted_feasible": predicted.feasible,
            "predicted_reason": predicted.reason,
            "predicted_kv_cache_tokens": predicted.kv_cache_tokens,
            "extrapolates": ", ".join(predicted.extrapolates),
            "scaled_from": predicted.scaled_from,
            "simulated_s": predicted.simulated_s,
            "wall_s": predicted.wall_s,
        }
        for metric in LABELS:
            row[f"predicted_{metric}"] = predicted.metrics.get(metric)
            row[f"measured_{metric}"] = run.measured.get(metric)
        rows.append(row)
    return pd.DataFrame(rows)


def _page(outcomes: Sequence[Outcome], figures: dict[str, Any]) -> str:
    title = f"Fidelity on {escape(Path(figures['source']).name)}"
    took = duration(figures["simulation"]["wall_s"])
    plot = Plot("Predicted and measured", _CAPTION, lambda: scatter_figure(outcomes))
    found = bars(outcomes)
    body = "\n".join(
        (
            f"<h1>{title}</h1>",
            f"<p class=soft>{counted(figures['runs'], 'run')}, predicted in {took}.</p>",
            "<h2>Summary</h2>",
            f"<p class=opening>{unbroken(escape(_opening(found)))}</p>",
            f'<div class="tiles">{"".join(map(_tile, found))}</div>',
            "<h2>What limits these predictions</h2>",
            *map(paragraph, _limits(figures)),
            "<h2>Figures</h2>",
            embedded(plot, "fidelity"),
            "<h2>Errors by metric and regime</h2>",
            _errors(figures["errors"]),
            f"<p class=soft>{escape(_TERMS)}</p>",
            "<h2>Starts and slots</h2>",
            paragraph(_starts(figures)),
            "<h2>Assumptions</h2>",
            paragraph(_METHOD),
            "<h2>Provenance</h2>",
            _provenance(figures),
        )
    )
    return page(f"simlora: {title}", body)


def _opening(found: Sequence[Bar]) -> str:
    """How many of the figures keep what is asked of them, and which do not."""
    measured = [bar for bar in found if bar.met is not None]
    missed = [bar.name for bar in measured if not bar.met]
    if not measured:
        return "Nothing was measured that a prediction could be held against."
    told = (
        f"Predictions keep {len(measured) - len(missed)} of {len(measured)} bounds on their error"
    )
    return (
        f"{told}; {', '.join(missed)} {'is' if len(missed) == 1 else 'are'} beyond."
        if (missed)
        else f"{told}."
    )


def _limits(figures: dict[str, Any]) -> list[str]:
    """Where runs leave what was measured for their profile, and where errors are largest."""
    notes = timing_notes(figures)
    if not notes:
        notes = ["No run goes beyond the range of its profile, and no profile is scaled"]
    told = [" ".join(f"{note}." for note in notes)]
    regimes = [line for line in figures["errors"] if line["runs"] in REGIMES]
    if regimes:
        worst = max(regimes, key=lambda line: line["median_error"])
        told.append(
            f"The largest median error by metric and regime is that of {LABELS[worst['metric']]} "
            f"in {worst['runs'].replace('_', ' ')} runs: {percent(worst['median_error'])}, of "
            f"{counted(worst['count'], 'run')}."
        )
    return told


def _starts(figures: dict[str, Any]) -> str:
    starts, slots = figures["infeasible"], figures["slot_choices"]
    return (
        f"Of {starts['failed']} servers that refused to start, {starts['caught']} were "
        f"predicted to; of {starts['started']} that started, {starts['false_alarms']} were "
        f"predicted not to. Of {counted(slots['workloads'], 'workload')} measured with several "
        f"slot counts, the predicted best count is as good as the measured best one (or loses "
        f"3 % of its throughput at most) in {slots['good']}; the mean loss is "
        f"{share(slots['mean_loss'])}."
    )


def _tile(bar: Bar) -> str:
    asked = f"{'at least' if bar.at_least else 'at most'} {share(bar.bound)}"
    verdict = {True: "met", False: "missed", None: "not measured"}[bar.met]
    css = "" if bar.met is None else f' class="{verdict}"'
    return (
        f"<div class=tile><small>{escape(bar.name)}</small><b>{share(bar.value)}</b>"
        f"<small>asked: {asked}, <span{css}>{verdict}</span></small></div>"
    )


def _errors(lines: list[dict[str, Any]]) -> str:
    """A group of rows for each metric, a row for each selection of runs."""
    heads = ("runs", "n", "median error", "mean error", "bias", "mean SMAPE")
    groups: dict[str, list[tuple[str, ...]]] = {}
    for line in lines:
        groups.setdefault(escape(LABELS[line["metric"]]), []).append(
            (
                escape(line["runs"].replace("_", " ")),
                str(line["count"]),
                percent(line["median_error"]),
                percent(line["mean_error"]),
                signed_percent(line["bias"]),
                percent(line["smape"]),
            )
        )
    return grouped_table("errors", heads, list(groups.items()), "Errors by metric and regime")


def _provenance(figures: dict[str, Any]) -> str:
    """What made the predictions, and what each profile says of its own error."""
    simulation = figures["simulation"]
    rows = [
        ("simlora", simulation["version"]),
        ("measurements", figures["source"]),
        ("seed", str(simulation["seed"])),
        ("requests that a client keeps waiting", f"{figures['client_cap']:,} at most"),
    ]
    for model, name in figures["profiles"].items():
        profile = find_profile(name)
        if profile is None:
            rows.append((f"profile for {model}", name))
            continue
        rows += [
            (f"profile for {model}", f"{profile.name} of {profile.provenance.date}"),
            (f"its source, {model}", profile.provenance.source),
            (f"its error, {model}", error_words(profile.error)),
        ]
    cells = [tuple(map(escape, row)) for row in rows]
    return table("provenance", ("what", "of these predictions"), cells, "Provenance")
