"""Figures in words and units that a reader takes in at a glance."""

from __future__ import annotations

from typing import Any


def duration(seconds: float | None) -> str:
    """A measured time, in three digits: `12.3 ms`, `1.20 s`, `45.0 min`; an em dash for none."""
    if seconds is None:
        return "—"
    value, unit = _scaled(seconds)
    return f"{_three_digits(value)} {unit}" if value else "0"


def tick(seconds: float) -> str:
    """A time that somebody chose, such as a promise: `500 ms`, `2 s`, `1.5 min`."""
    value, unit = _scaled(seconds)
    return f"{value:.4g} {unit}" if value else "0"


def moment(seconds: float) -> str:
    """A time of the run's clock: `45 s`, `10 min 50 s`, `26 h 5 min`."""
    if seconds < 600:
        return tick(seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 180:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def number(value: float | None, unit: str = "") -> str:
    """Three digits, or all digits before the point, with thousands separated."""
    return "—" if value is None else (_three_digits(value) if value else "0") + unit


def tokens(count: int | None) -> str:
    """A number of tokens: `980`, `23.5 k`, `1.05 M`."""
    if count is None:
        return "—"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            return f"{_three_digits(count / factor)} {unit}"
    return str(count)


def share(value: float | None) -> str:
    """`99.7 %`; never rounded up to 100 %."""
    if value is None:
        return "—"
    percent = 100 * value
    if 99.9 <= percent < 100:
        kept = 1000 if percent >= 99.99 else 100
        return f"{int(percent * kept) / kept:g} %"
    return f"{percent:.3g} %"


def usd(value: float | None) -> str:
    """Dollars; cents below a hundred, tenths of a cent below a dollar."""
    if value is None:
        return "—"
    return (
        f"${value:,.0f}" if value >= 100 else f"${value:,.2f}" if value >= 1 else f"${value:,.3f}"
    )


def size(nbytes: float | None) -> str:
    """Decimal units of bytes."""
    if nbytes is None:
        return "—"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{_three_digits(nbytes / factor)} {unit}"
    return f"{nbytes:g} B"


def counted(count: int, noun: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def lost(requests: dict[str, int]) -> str:
    """What did not complete: `5 rejected, 2 unfinished`, or nothing."""
    return ", ".join(
        f"{requests[status]:,} {status}"
        for status in ("rejected", "failed", "unfinished")
        if requests[status]
    )


def load_troubles(adapters: dict[str, Any]) -> str:
    """Transfers that failed, or nothing."""
    failed, given_up = adapters.get("transfers_failed", 0), adapters.get("loads_given_up", 0)
    if not failed:
        return ""
    return f"{counted(failed, 'transfer')} failed, {counted(given_up, 'load')} given up"


def prefetches(adapters: dict[str, Any]) -> str:
    """What came of loads ahead of requests, or nothing."""
    begun = adapters.get("prefetches", 0)
    if not begun:
        return ""
    used, wasted = adapters.get("prefetches_used", 0), adapters.get("prefetches_wasted", 0)
    left = begun - used - wasted
    return f"{counted(begun, 'adapter')} loaded ahead: {used:,} used, {wasted:,} evicted unused" + (
        f", {left:,} never asked for" if left else ""
    )


def promise(bound: str, entry: dict[str, Any]) -> tuple[str, str, str]:
    """A promised bound of a tier, what was measured, and `met`, `missed`, `not measured`, or
    `open`: what was measured holds for too few requests to say."""
    promised, measured = entry["promised"], entry["measured"]
    nothing = "not measured" if measured is None else "open"
    verdict = {True: "met", False: "missed", None: nothing}[entry["met"]]
    if bound == "availability":
        return f"availability ≥ {share(promised)}", share(measured), verdict
    metric = bound.removesuffix("_p99_s").upper()
    beyond = measured is None and verdict == "missed"  # it lies among requests without an answer
    told = f"> {tick(promised)}" if beyond else duration(measured)
    return f"{metric} p99 ≤ {tick(promised)}", told, verdict


def timing_basis(timing: dict[str, Any]) -> str:
    """What the times of a run rest on: the profile, how far the run goes beyond it, its error."""
    parts = [timing["profile"]]
    if timing.get("scaled_from"):
        parts.append(f"scaled from {timing['scaled_from']} by the roofline")
    if timing.get("extrapolates"):
        beyond = (feature.replace("_", " ") for feature in timing["extrapolates"])
        parts.append(f"beyond what was measured in {', '.join(beyond)}")
    if timing.get("error"):
        errors = [f"{name.replace('_', ' ')} {share(e)}" for name, e in timing["error"].items()]
        parts.append(f"error: {', '.join(errors[:2])}")
    return "; ".join(parts)


def _scaled(seconds: float) -> tuple[float, str]:
    size = abs(seconds)
    if size == 0:
        return 0.0, "s"
    if size < 0.9995e-3:
        return seconds * 1e6, "µs"
    if size < 0.9995:
        return seconds * 1e3, "ms"
    if size < 599.5:
        return seconds, "s"
    if size < 3 * 3600:
        return seconds / 60, "min"
    return seconds / 3600, "h"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"
