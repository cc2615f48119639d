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
from simlora.report.style import to_svg
from simlora.report.words import share
from simlora.validation.fidelity import Bar, bars, percent, signed_percent, timing_notes
from simlora.validation.figures import save_png, scatter_figure
from simlora.validation.metrics import LABELS
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
    title = f"simlora: fidelity on {escape(Path(figures['source']).name)}"
    starts, slots = figures["infeasible"], figures["slot_choices"]
    body = "\n".join(
        (
            f"<h1>{title}</h1>",
            (
                f"<p class=soft>{figures['runs']} runs, predicted in "
                f"{figures['simulation']['wall_s']:.0f} s.</p>"
            ),
            '<div class="tiles">' + "".join(map(_tile, bars(outcomes))) + "</div>",
            f"<p>{escape(_METHOD)}</p>",
            _notes(figures),
            "<h2>Predicted and measured</h2>",
            (
                f"<figure><div class=wide>{to_svg(scatter_figure(outcomes), 'fidelity')}</div>"
                f"<figcaption>{escape(_CAPTION)}</figcaption></figure>"
            ),
            "<h2>Errors by metric and regime</h2>",
            _table(figures["errors"]),
            f"<p class=soft>{escape(_TERMS)}</p>",
            "<h2>Starts and slots</h2>",
            (
                f"<p>Of {starts['failed']} servers that refused to start, {starts['caught']} were "
                f"predicted to; of {starts['started']} that started, {starts['false_alarms']} were "
                f"predicted not to. Of {slots['workloads']} workloads measured with several slot "
                f"counts, the predicted best count is as good as the measured best one (or loses "
                f"3 % of its throughput at most) in {slots['good']}; the mean loss is "
                f"{share(slots['mean_loss'])}.</p>"
            ),
            "<h2>Provenance</h2>",
            f"<pre>{escape(_provenance(figures))}</pre>",
        )
    )
    return page(title, body)


def _notes(figures: dict[str, Any]) -> str:
    notes = timing_notes(figures)
    if not notes:
        notes = ["No run goes beyond the range of its profile, and no profile is scaled"]
    return f"<p>{escape(' '.join(f'{note}.' for note in notes))}</p>"


def _tile(bar: Bar) -> str:
    asked = f"{'at least' if bar.at_least else 'at most'} {share(bar.bound)}"
    verdict = {True: "met", False: "missed", None: "not measured"}[bar.met]
    css = "" if bar.met is None else f' class="{verdict}"'
    return (
        f"<div class=tile>{escape(bar.name)}<b>{share(bar.value)}</b>"
        f"<small>asked: {asked}, <span{css}>{verdict}</span></small></div>"
    )


def _table(lines: list[dict[str, Any]]) -> str:
    heads = ("metric", "runs", "n", "median error", "mean error", "bias", "mean SMAPE")
    rows = [
        (
            LABELS[line["metric"]] if line["metric"] != above else "",
            line["runs"].replace("_", " "),
            str(line["count"]),
            percent(line["median_error"]),
            percent(line["mean_error"]),
            signed_percent(line["bias"]),
            percent(line["smape"]),
        )
        for line, above in zip(lines, ("", *(line["metric"] for line in lines)), strict=False)
    ]
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table class=promises><tr>{head}</tr>{body}</table></div>'


def _provenance(figures: dict[str, Any]) -> str:
    kept = {
        name: figures[name]
        for name in ("source", "profiles", "scaled_from", "client_cap", "simulation")
    }
    return json.dumps(kept, indent=2)
