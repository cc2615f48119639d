"""What `simlora calibrate` prints."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.calibration.calibrate import Calibration
from simlora.calibration.fit import Estimate, Fit
from simlora.calibration.judge import ErrorSummary
from simlora.calibration.loads import KvFit
from simlora.report.words import counted, number, size
from simlora.timing.profile import Profile


def calibration_tables(result: Calibration) -> RenderableType:
    """A calibration in one screen of 80 columns: figures, errors, the range they hold for."""
    parts: list[RenderableType] = [
        _measured(result),
        Text(""),
        figures_table(result.fit, result.profile, result.rows["runs"] > 0),
        Text(""),
    ]
    if result.errors:
        parts += [errors_table("on measurements left out of the fit", result.errors), Text("")]
    parts += [
        errors_table("of the fit itself", result.residuals),
        Text(""),
        ranges_text(result.profile),
    ]
    if result.kv is not None:
        parts += [Text(""), _kv(result.kv)]
    return Group(*parts)


def seconds(value: float) -> str:
    """A figure in the unit that suits it, down to femtoseconds (a figure per parameter)."""
    if value == 0:
        return "0"
    for unit, factor in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("ps", 1e-12)):
        if value >= 0.9995 * factor:
            return f"{value / factor:#.3g}".rstrip(".") + f" {unit}"
    return f"{value / 1e-15:#.3g}".rstrip(".") + " fs"


def _measured(result: Calibration) -> Text:
    rows = ", ".join(
        f"{counted(count, 'row')} of {kind}" for kind, count in result.rows.items() if count
    )
    profile = result.profile
    return Text(f"{profile.server} on {profile.measured_on}: {rows}", style="bold")


def figures_table(fit: Fit, profile: Profile, overhead: bool = False) -> Table:
    """Each figure, how well it is known or why not; `overhead`: that of requests as well."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column("figure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("±", justify="right", no_wrap=True)
    table.add_column("")
    for one in fit.estimates:
        style = "dim" if one.status == "unknown" else ""
        known = "" if one.relative_error is None else f"{one.relative_error:.1%}"
        table.add_row(one.name, _value(one), known, _remark(one), style=style)
    if (load := profile.load) is not None:
        table.add_row("load latency_s", seconds(load.latency_s), "", "")
        table.add_row("load bytes_per_s", f"{size(load.bytes_per_s)}/s", "", "")
    if overhead:
        table.add_row("request_overhead_s", seconds(profile.request_overhead_s), "", "")
    return table


def _value(one: Estimate) -> str:
    return "—" if one.status == "unknown" else seconds(one.value)


def _remark(one: Estimate) -> str:
    return "given" if one.status == "given" else one.reason


def errors_table(kind: str, summaries: Mapping[str, ErrorSummary]) -> Table:
    """Errors by what was predicted."""
    table = Table(
        box=SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        show_edge=False,
        title=f"error {kind}",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("")
    for head in ("points", "median", "SMAPE", "p90", "bias"):
        table.add_column(head, justify="right")
    for name, summary in summaries.items():
        figures = (summary.median, summary.smape, summary.p90)
        table.add_row(
            name.replace("_", " "),
            str(summary.count),
            *(f"{figure:.2%}" for figure in figures),
            f"{summary.bias:+.2%}",
        )
    return table


def ranges_text(profile: Profile) -> Text:
    """What the profile holds for."""
    ranges = ", ".join(
        f"{name.replace('_', ' ')} {number(low)}–{number(high)}"
        for name, (low, high) in profile.holds_for.items()
    )
    return Text(f"holds for {ranges}")


def _kv(kv: KvFit) -> Text:
    text = (
        f"KV cache: {kv.base_tokens:,.0f} tokens, less {kv.slot_tokens:.3g} a slot and "
        f"{kv.slot_rank_tokens:.3g} a slot and rank"
    )
    if kv.slot_rank_bytes is not None and kv.expected_bytes is not None:
        text += f" ({size(kv.slot_rank_bytes)}; by the model's shapes {size(kv.expected_bytes)})"
    return Text(text)
