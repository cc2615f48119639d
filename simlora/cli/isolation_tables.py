"""Tables that `isolation` prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from simlora.planning.isolation import Isolation, taxes
from simlora.planning.isolation_runs import Price
from simlora.report.words import counted, duration, number, share, usd


def isolation_tables(found: Isolation) -> RenderableType:
    """What the attacker learns under each mode, and what each mode costs. In 80 columns."""
    parts: list[RenderableType] = [Text(_head(found)), Text(""), _leaks(found), Text("")]
    parts += [Text("The price, without the attacker, and the difference to shared:"), Text("")]
    parts += [_prices(found.prices), Text("")]
    if found.saturated:
        parts += [Text(f"With all arrivals {found.faster:g} times as fast:"), Text("")]
        parts += [_prices(found.saturated), Text("")]
    return Group(*parts, Text(_note(found), style="dim"))


def _head(found: Isolation) -> str:
    most = max(leak.probes for leak in found.leaks)
    return (
        f"{found.attacker} guesses what the other tenants asked, with {counted(most, 'probe')} "
        f"(seed {found.seed}):"
    )


def _leaks(found: Isolation) -> Table:
    table = _table("mode", "AUC", "95 %\ninterval", "bits a\nprobe", "right\nfound")
    for head in ("TTFT\nright", "TTFT\nwrong"):
        table.add_column(head, justify="right", no_wrap=True)
    for leak in found.leaks:
        table.add_row(
            leak.mode,
            f"{leak.auc.value:.3f}",
            f"{leak.auc.low:.3f}–{leak.auc.high:.3f}",
            f"{leak.bits:.3f}",
            share(leak.hit_share),
            duration(leak.ttft_right_s),
            duration(leak.ttft_wrong_s),
        )
    return table


def _prices(prices: Sequence[Price]) -> Table:
    table = _table(
        "mode", "output\ntokens/s", "TTFT\np50", "TTFT\np99", "prefix\nhits", "GPU\nbusy",
        "$/M output\ntokens",
    )  # fmt: skip
    changes = taxes(prices)
    for row, price in enumerate(prices):
        cells = {
            "output_tokens_per_s": number(price.output_tokens_per_s),
            "ttft_p50_s": duration(price.ttft_p50_s),
            "ttft_p99_s": duration(price.ttft_p99_s),
            "prefix_hit_ratio": share(price.prefix_hit_ratio),
            "busy_gpu_s": f"{price.busy_gpu_s:,.0f} s",
            "usd_per_million_output_tokens": usd(price.usd_per_million_output_tokens),
        }
        if changes and price.mode != "shared":
            cells = {key: f"{text}\n{_percent(changes[row][key])}" for key, text in cells.items()}
        table.add_row(price.mode, *cells.values())
    return table


def _percent(change: float | None) -> str:
    if change is None:
        return "—"
    digits = 1 if abs(change) < 100 else 0
    rounded = round(change, digits)
    return f"{rounded:+,.{digits}f} %" if rounded else "0 %"


def _note(found: Isolation) -> str:
    noise = f" +noise: held back by 0 to {found.noise_s:g} s." if _noisy(found) else ""
    return (
        "AUC: the chance that a right guess is answered sooner than a wrong one; 0.5 tells "
        "nothing. Bits a probe: what a threshold on TTFT tells about a guess, of 1 bit. Right "
        "found: right guesses of which the cache had more than what the attacker knew. Dollars: "
        "the seconds in which GPUs were busy, at their price." + noise
    )


def _noisy(found: Isolation) -> bool:
    return any(leak.mode.endswith("+noise") for leak in found.leaks)


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True, vertical="top")
    for head in others:
        table.add_column(head, justify="right", no_wrap=True)
    return table
