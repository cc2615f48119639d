"""The files of a comparison: figures for programs, a page and a picture for people."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlora import __version__
from simlora.errors import UserError
from simlora.planning.compare import Comparison, Line, as_json
from simlora.planning.metrics import Metric
from simlora.planning.paired import Verdict
from simlora.report.comparison_words import basis, change, change_unit, figure, same_everywhere
from simlora.report.page import page

if TYPE_CHECKING:
    import pandas as pd

JSON, PARQUET, HTML, PNG = (f"comparison.{kind}" for kind in ("json", "parquet", "html", "png"))

_CAPTION = (
    "Mean difference to the baseline with its 95 % interval, in percent of the baseline's mean or "
    "in percentage points; the small dots are single replications. An interval that holds 0 shows "
    "no difference."
)
_CAVEAT = (
    "The intervals take the differences to be about normal over replications. There is no "
    "correction over metrics: of twenty without a difference, expect one to show one."
)


def write_comparison(compared: Comparison, directory: Path) -> list[Path]:
    """Write the comparison's files into `directory`, made if need be; return their paths.

    One that was interrupted before any replication was whole has no page and no picture.

    Raises:
        UserError: they cannot be written.
    """
    texts = {JSON: json.dumps(as_json(compared), indent=2, ensure_ascii=False) + "\n"}
    if compared.seeds:
        texts[HTML] = html(compared)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in (HTML, PNG):
            (directory / name).unlink(missing_ok=True)
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8", newline="\n")
        runs_table(compared).to_parquet(directory / PARQUET, index=False)
        if compared.seeds:
            _draw(compared, directory / PNG)
    except OSError as error:
        raise UserError(f"{directory}: cannot write there: {error.strerror or error}") from error
    return [directory / name for name in (JSON, PARQUET, HTML, PNG) if (directory / name).exists()]


def runs_table(compared: Comparison) -> pd.DataFrame:
    """One row a variant, replication and metric, of all runs that finished."""
    import pandas as pd

    columns = ("variant", "replication", "seed", "metric", "unit", "value")
    rows = [
        (run.variant, run.replication, run.seed, m.key, m.unit, run.figures[m.key])
        for run in compared.runs
        for m in compared.metrics
    ]
    return pd.DataFrame(rows, columns=list(columns)).astype({"value": "float64"})


def html(compared: Comparison) -> str:
    """The comparison as a page of its own."""
    from simlora.report import comparison_figure, style

    varied = ", ".join(compared.variants[0].settings)
    names = "; ".join(variant.name for variant in compared.variants)
    told = f"{varied}: {names}" if varied else names
    interrupted = " <b>The comparison was interrupted.</b>" if compared.interrupted else ""
    body = [
        f"<h1>Comparison with {escape(compared.baseline)}</h1>",
        f"<p class=soft>{escape(told)}.{interrupted}</p>",
        f"<p>{escape(basis(compared))}</p>",
    ]
    same = same_everywhere(compared)
    told_apart = [metric for metric in compared.metrics if metric not in same]
    if told_apart:
        with style.styled():
            drawn = comparison_figure.differences(compared)
        svg = style.to_svg(drawn, "comparison")
        body.append(
            f"<h2>Differences</h2>\n<figure><div class=wide>{svg}</div>"
            f"<figcaption>{_CAPTION}</figcaption></figure>"
        )
    body.append("<h2>Figures</h2>")
    sections = "".join(_section(compared, metric) for metric in told_apart)
    body.append(f"<div class=wide><table><tbody>{sections}</tbody></table></div>")
    if same:
        first = [compared.of_metric(metric)[0] for metric in same]
        told = ", ".join(f"{line.metric.title} {figure(line)}" for line in first)
        body.append(f"<p>The same in all variants: {escape(told)}.</p>")
    body.append(f"<p class=soft>{_CAVEAT}</p>")
    body.append(f"<p class=soft>simlora {escape(__version__)}</p>")
    return page(f"simlora: comparison with {escape(compared.baseline)}", "\n".join(body))


def _section(compared: Comparison, metric: Metric) -> str:
    """The rows of a metric, under a head of their own."""
    unit = {"pt": "points", "%": "%"}[change_unit(metric)]
    aim = "higher is better" if metric.higher_is_better else "lower is better"
    heads = (f"{metric.title}, {aim}", "mean", f"difference, {unit}", "adjusted p", "verdict")
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    return f"<tr>{head}</tr>" + "".join(map(_row, compared.of_metric(metric)))


def _row(line: Line) -> str:
    kind = {Verdict.BETTER: "met", Verdict.WORSE: "missed"}.get(line.verdict or Verdict.SAME, "")
    verdict = line.verdict.value if line.verdict else "baseline"
    p = "" if line.adjusted_p is None else f"{line.adjusted_p:.2g}"
    cells: tuple[Any, ...] = (escape(line.variant), figure(line), change(line), p)
    told = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr>{told}<td><span class='{kind}'>{verdict}</span></td></tr>"


def _draw(compared: Comparison, path: Path) -> None:
    from simlora.report import comparison_figure, style

    with style.styled_alone():
        drawn = comparison_figure.differences(compared)
        drawn.savefig(path, dpi=150, metadata={"Software": None})
