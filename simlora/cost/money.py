"""Money as everybody reads it."""

from __future__ import annotations

import math

import numpy as np

from simlora.results.arrays import Floats


def dollars(amount: float | None) -> str:
    """USD to the cent below $1,000, in whole dollars above; an em dash for none.

    >>> dollars(-94.1), dollars(1234.5), dollars(0.00321)
    ('-$94.10', '$1,234', '$0.0032')
    """
    if amount is None or math.isnan(amount):
        return "—"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if 0 < size < 0.01:
        return f"{sign}${size:.2g}"
    return f"{sign}${size:,.0f}" if size >= 1000 else f"{sign}${size:,.2f}"


def percent(share: float | None) -> str:
    """A share in per cent to a tenth, never rounded to nothing or to all of it.

    >>> percent(0.8894), percent(-1.5), percent(0.0002), percent(0.99999)
    ('88.9 %', '-150.0 %', '<0.1 %', '>99.9 %')
    """
    if share is None or math.isnan(share):
        return "—"
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{100 * share:,.1f} %"


def in_cents(amounts: Floats, total_usd: float) -> list[float]:
    """Amounts in whole cents that add up to the total in whole cents, none off by a cent or more:
    what is over after rounding down goes to those who lost most by it.

    >>> in_cents(np.array([1.0, 1.0, 1.0]) / 3, 1.0)
    [0.34, 0.33, 0.33]
    """
    cents = np.asarray(amounts, dtype=np.float64) * 100
    whole = np.floor(cents + 1e-7)
    over = round(total_usd * 100) - int(whole.sum())
    order = np.argsort(whole - cents, kind="stable")
    whole[order[: max(0, over)]] += 1
    whole[order[len(order) + min(0, over) :]] -= 1
    return [float(value) / 100 for value in whole]
