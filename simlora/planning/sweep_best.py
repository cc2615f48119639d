"""Which point of a sweep is best at a figure, among those that keep to bounds."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlora.errors import UserError
from simlora.planning.sweep_work import OK
from simlora.scenario.problems import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_HIGHEST, _LOWEST = ":max", ":min"
_TIERS = "tiers."
_IN_SOME_ROWS = ("sla.", "error_budget.", "requests.reasons.")  # figures of a tier
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A figure, `>=`, `<=`, `>` or `<`, and a number."""

    figure: str
    sign: str
    value: float


@dataclass(frozen=True, slots=True)
class Best:
    """The settings at which a figure's mean over replications is best; no `value` if there is
    none."""

    figure: str
    highest: bool
    value: float | None
    settings: Mapping[str, Any]


def parse_bound(text: str) -> Bound:
    """A `figure>=value` text. Raises UserError.

    >>> parse_bound("tiers.gold.sla_attainment>=0.99")
    Bound(figure='tiers.gold.sla_attainment', sign='>=', value=0.99)
    """
    parts = re.fullmatch(r"\s*([^<>=]+?)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
    try:
        if parts is not None and math.isfinite(value := float(parts[3])):
            return Bound(parts[1], parts[2], value)
    except ValueError:
        pass
    raise UserError(
        "--where takes figure>=value (or <=, > or <) with a finite number, for example "
        f"tiers.gold.sla_attainment>=0.99, not {text!r}"
    )


def asked_figures(asked: Sequence[str], bounds: Sequence[Bound]) -> list[str]:
    """The figures that best points and bounds are asked for by."""
    return [*map(_figure, asked), *(bound.figure for bound in bounds)]


def is_of_a_tier(figure: str) -> bool:
    """Whether it is to be found in those sweeps only that have its tier."""
    return figure.startswith(_TIERS)


def check_tiers(figures: Sequence[str], names: Sequence[str]) -> None:
    """Raises UserError for a figure of a tier that is none of these: it needs no run."""
    for figure in figures:
        if is_of_a_tier(figure) and _tier_of(figure, names) is None:
            name = figure.removeprefix(_TIERS).partition(".")[0]
            raise UserError(
                f'no figure "{figure}", for no tier "{name}": {did_you_mean(name, names)}'
            )


def check_figures(figures: Sequence[str], row: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raises UserError for a figure that cannot be found in a sweep one of whose rows is this, and
    `names` those of all its tiers.

    What is null here, or within something that is, may have a value in another row; another
    scenario may have other tiers, or other promises of the same.
    """
    numbers = [key for key, value in row.items() if _is_number(value)]
    absent = [key for key, value in row.items() if value is None]
    for figure in figures:
        within = any(figure == key or figure.startswith(f"{key}.") for key in absent)
        if figure not in numbers and not within and not _may_be_elsewhere(figure, row, names):
            raise UserError(f'no figure "{figure}": {did_you_mean(figure, numbers)}')


def _may_be_elsewhere(figure: str, row: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether it is of a tier that is not in this row, or of what tiers have in some rows only."""
    name = _tier_of(figure, names)
    if name is None:
        return False
    tier = f"{_TIERS}{name}."
    return figure.startswith(tuple(f"{tier}{part}" for part in _IN_SOME_ROWS)) or not any(
        key.startswith(tier) for key in row
    )


def _tier_of(figure: str, names: Sequence[str]) -> str | None:
    """The tier whose figure it is. A name may have dots, and begin with another name."""
    mine = [name for name in names if f"{figure}.".startswith(f"{_TIERS}{name}.")]
    return max(mine, key=len, default=None)


def best_points(
    table: pd.DataFrame,
    keys: Sequence[str],
    asked: Sequence[str],
    bounds: Sequence[Bound] = (),
    runs_of: Callable[[int], int] | None = None,
) -> list[Best]:
    """For each figure asked for (`cost.fleet_usd`, or with `:max` where the highest is best) the
    point whose mean over replications is best, the first of several.

    A point counts if all of its replications went well (`runs_of` says how many a point has; None:
    those in the table) and it keeps to the bounds, on average too.
    Raises UserError for a figure that the table has not.
    """
    figures = list(map(_figure, asked))
    numbers = table.select_dtypes("number")
    for figure in asked_figures(asked, bounds):
        if figure not in numbers:
            raise UserError(f'no figure "{figure}": {did_you_mean(figure, list(numbers))}')
    by_point = table.groupby("point")
    means = by_point[list(dict.fromkeys([*figures, *(b.figure for b in bounds)]))].mean()
    fits = by_point["status"].agg(lambda status: (status == OK).all())
    if runs_of is not None:
        fits &= by_point.size() == [runs_of(int(point)) for point in fits.index]
    for bound in bounds:
        fits &= _COMPARED[bound.sign](means[bound.figure], bound.value)
    first_rows = by_point.first()
    told = (*keys, *(["scenario"] if table["scenario"].nunique() > 1 else []))
    found = []
    for text, figure in zip(asked, figures, strict=True):
        highest = text.endswith(_HIGHEST)
        values = means.loc[fits, figure].dropna()
        if values.empty:
            found.append(Best(figure, highest, None, {}))
            continue
        point = values.idxmax() if highest else values.idxmin()
        settings = {key: _plain(first_rows.loc[point, key]) for key in told}
        found.append(Best(figure, highest, float(values[point]), settings))
    return found


def _figure(text: str) -> str:
    return text.removesuffix(_HIGHEST).removesuffix(_LOWEST)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(value: Any) -> Any:
    """A cell as a plain Python value; None where there is none."""
    import pandas as pd

    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
