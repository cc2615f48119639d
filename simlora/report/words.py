"""Figures in words and units that a reader takes in at a glance."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """`12.3 ms`, `1.23 s`, `4.5 min`; an em dash for no figure."""
    if seconds is None:
        return "—"
    size = abs(seconds)
    if size == 0:
        return "0"
    if size < 1e-3:
        return f"{_significant(seconds * 1e6)} µs"
    if size < 0.9995:
        return f"{_significant(seconds * 1e3)} ms"
    if size < 600:
        return f"{_significant(seconds)} s"
    if size < 3 * 3600:
        return f"{_significant(seconds / 60)} min"
    return f"{_significant(seconds / 3600)} h"


def number(value: float | None, unit: str = "") -> str:
    """Three significant digits, or all digits before the point, with thousands separated."""
    return "—" if value is None else _significant(value) + unit


def share(value: float | None) -> str:
    """`99.7 %`; never rounded up to 100 %."""
    if value is None:
        return "—"
    percent = 100 * value
    if 99.9 <= percent < 100:
        return f"{int(percent * 1000) / 1000:g} %"
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
            return f"{_significant(nbytes / factor)} {unit}"
    return f"{nbytes:g} B"


def _significant(value: float) -> str:
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}"
