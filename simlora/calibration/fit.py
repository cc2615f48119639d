"""Fits the figures of the timing form by non-negative least squares of relative errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import ValidationError

from simlora.calibration.design import DENSE, TERMS, Rows
from simlora.calibration.tables import Floats
from simlora.errors import UserError
from simlora.scenario.problems import one_of
from simlora.scenario.wording import explain
from simlora.timing.parameters import StepParameters

# A column whose part that no other column explains is smaller than this says nothing of its own.
INDEPENDENT = 1e-6
# Belsley, Kuh and Welsch, Regression Diagnostics (1980): from a condition index of 30 on, figures
# that have more than half of their variance from that direction are not told apart.
CONDITION_INDEX = 30.0
VARIANCE_SHARE = 0.5
# By how much the Bayesian information criterion must fall to believe in memory-bound projections;
# 10 is "very strong" (Kass and Raftery, 1995).
KNEE_EVIDENCE = 10.0
KNEE_GRID = 24
KNEE_ROWS = 3  # at least so many rows on either side of it

Status = Literal["fitted", "given", "zero", "unknown"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure. `relative_error` is its standard error over its value. `status`: `fitted`,
    `given` by the user, `zero` (the data say it is not positive), or `unknown` (the data do not
    say; `reason` says why)."""

    name: str
    value: float
    status: Status
    relative_error: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Fit:
    """Figures, what is known of each, and what the data hardly tell apart."""

    parameters: StepParameters
    estimates: tuple[Estimate, ...]
    condition: float  # of the scaled columns that were fitted
    together: tuple[tuple[str, ...], ...]  # groups of figures known only as a sum
    errors: Floats  # predicted / measured - 1, row by row


@dataclass(slots=True)
class _Problem:
    """The rows scaled by what was measured, less what is given."""

    rows: Rows
    names: tuple[str, ...]
    columns: Floats
    target: Floats
    scale: Floats

    def with_knee(self, knee_tokens: float) -> Floats:
        return np.column_stack([self.columns, self.scale * self.rows.max_tokens(knee_tokens)])


def fit_steps(rows: Rows, given: Mapping[str, float] | None = None) -> Fit:
    """Fit all figures that the rows tell; `given` ones are kept as they are.

    Minimizes the sum of squared relative errors with every figure at least 0. Raises UserError for
    fewer different rows than figures.
    """
    given = dict(given or {})
    problem = _problem(rows, given)
    names, columns, unknown = _independent(problem)
    _check_count(problem, len(names))
    values = _solve(columns, problem.target)
    knee = None if set(DENSE) & set(given) else _find_knee(problem, names, columns, values)
    if knee is not None:
        names = (*names, "token_compute_s")
        columns = np.column_stack([columns, problem.scale * rows.max_tokens(knee)])
        values = _solve(columns, problem.target)
    found = dict(zip(names, values.tolist(), strict=True)) | given
    if knee is not None:
        found["weights_s"] = found["token_compute_s"] * knee
    parameters = _parameters(found)
    errors = rows.predict(parameters) / rows.seconds - 1
    positive = values > 0
    spread = _relative_errors(columns[:, positive], problem.target, values[positive])
    known = np.array(names)[positive].tolist()
    relative = dict(zip(known, spread, strict=True))
    condition, alike = _condition(columns, names)
    together = tuple(group for group in alike if set(group) & set(known))
    for group in together:
        partners = [name for name in group if name in relative]
        if len(partners) < len(group):
            # One has been given what the others may cost as well, so its spread is too small.
            unknown |= {name: _cannot_tell(partners) for name in group if name not in relative}
            relative |= dict.fromkeys(partners)
    if knee is None and not set(DENSE) & set(given):
        for name, host in zip(DENSE, ("fixed_s", "token_s"), strict=True):
            unknown[name] = f"no bend over the tokens of a step was seen; it is part of {host}"
    elif knee is not None:
        relative["weights_s"] = relative.get("token_compute_s")
    estimates = tuple(
        _estimate(name, parameters, given, relative, unknown) for name in (*TERMS, *DENSE)
    )
    return Fit(parameters, estimates, condition, together, errors)


def _parameters(found: Mapping[str, float]) -> StepParameters:
    try:
        return StepParameters(**found)
    except ValidationError as error:
        (name, *_), problem = explain(error)
        raise UserError(
            f"these measurements give a {name} that no server has: it {problem}"
        ) from None


def _estimate(
    name: str,
    parameters: StepParameters,
    given: Mapping[str, float],
    relative: Mapping[str, float | None],
    unknown: Mapping[str, str],
) -> Estimate:
    value = getattr(parameters, name)
    if name in given:
        return Estimate(name, value, "given")
    if name in unknown:
        return Estimate(name, value, "unknown", reason=unknown[name])
    if value == 0:
        return Estimate(name, value, "zero", reason="the data make it no more than 0")
    return Estimate(name, value, "fitted", relative.get(name))


def _problem(rows: Rows, given: Mapping[str, float]) -> _Problem:
    scale = np.sqrt(rows.weight / rows.weight.mean()) / rows.seconds
    known_s = rows.offset_s.copy()
    if set(DENSE) & set(given):
        known_s += rows.dense_s(*(given.get(name, 0.0) for name in DENSE))
    free = [index for index, name in enumerate(TERMS) if name not in given]
    for index, name in enumerate(TERMS):
        known_s += given.get(name, 0.0) * rows.matrix[:, index]
    return _Problem(
        rows,
        tuple(TERMS[index] for index in free),
        rows.matrix[:, free] * scale[:, None],
        (rows.seconds - known_s) * scale,
        scale,
    )


def _independent(problem: _Problem) -> tuple[tuple[str, ...], Floats, dict[str, str]]:
    """The columns that say something of their own, and why the others do not."""
    names: list[str] = []
    kept: list[Floats] = []
    basis: list[Floats] = []
    unknown: dict[str, str] = {}
    for name, column in zip(problem.names, problem.columns.T, strict=True):
        length = float(np.linalg.norm(column))
        if length == 0:
            unknown[name] = "nothing in the measurements is paid for by it"
            continue
        rest = column / length
        for _ in range(2):  # twice is enough (Kahan)
            for direction in basis:
                rest = rest - (rest @ direction) * direction
        size = float(np.linalg.norm(rest))
        if size < INDEPENDENT:
            hosts = _hosts(np.column_stack(kept), names, column)
            unknown[name] = _cannot_tell(hosts)
            continue
        names.append(name)
        kept.append(column)
        basis.append(rest / size)
    if not kept:
        return (), np.empty((len(problem.rows), 0)), unknown
    return tuple(names), np.column_stack(kept), unknown


def _cannot_tell(hosts: Sequence[str]) -> str:
    return f"cannot be told from {' and '.join(hosts)} in these measurements"


def _hosts(kept: Floats, names: list[str], column: Floats) -> list[str]:
    """The columns that add up to this one."""
    lengths = np.linalg.norm(kept, axis=0)
    mix = np.linalg.lstsq(kept / lengths, column, rcond=None)[0]
    large = np.abs(mix) > 0.01 * np.abs(mix).max()
    return [name for name, is_large in zip(names, large, strict=True) if is_large]


def _check_count(problem: _Problem, independent: int) -> None:
    """As many figures can be told as there are different measurements; then nothing is left to
    tell the others by, except for those that go along with just one other."""
    wanted: list[str] = []
    directions: list[Floats] = []
    different = len(np.unique(problem.rows.matrix, axis=0))
    for name, column in zip(problem.names, problem.columns.T, strict=True):
        length = np.linalg.norm(column)
        if length and all(1 - column / length @ other > 1e-12 for other in directions):
            wanted.append(name)
            directions.append(column / length)
    if different == 1:  # of a single point, anything is in proportion to anything
        wanted = [n for n, c in zip(problem.names, problem.columns.T, strict=True) if c.any()]
    if independent >= different and len(wanted) > independent:
        raise UserError(
            f"{len(problem.rows)} measurements ({different} different) cannot determine "
            f"{len(wanted)} figures ({one_of(wanted)}); measure more points, or give some figures "
            "with --fix NAME=SECONDS"
        )


def _solve(columns: Floats, target: Floats) -> Floats:
    from scipy.optimize import nnls

    if not columns.shape[1]:
        return np.empty(0)
    lengths = np.linalg.norm(columns, axis=0)
    values, _ = nnls(columns / lengths, target, maxiter=100 * columns.shape[1])
    return np.asarray(values / lengths)


def _find_knee(
    problem: _Problem, names: tuple[str, ...], columns: Floats, values: Floats
) -> float | None:
    """Tokens up to which the dense projections take as long as reading the weights, if the
    measurements clearly show such a bend."""
    from scipy.optimize import minimize_scalar

    means = problem.rows.max_tokens(0.0)
    count = len(means)
    if count < len(names) + 2 or count < 2 * KNEE_ROWS or "token_s" not in names:
        return None
    ordered = np.sort(means)
    low, high = max(ordered[KNEE_ROWS - 1], 1.0), ordered[-KNEE_ROWS]
    if high <= low:
        return None

    def loss(log_knee: float) -> float:
        bent = np.column_stack(
            [columns, problem.scale * problem.rows.max_tokens(float(np.exp(log_knee)))]
        )
        return _squares(bent, problem.target, _solve(bent, problem.target))

    grid = np.linspace(np.log(low), np.log(high), KNEE_GRID)
    losses = [loss(point) for point in grid]
    best = int(np.argmin(losses))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, KNEE_GRID - 1)])
    refined = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    knee, bent_loss = (
        (float(refined.x), float(refined.fun))
        if refined.fun < losses[best]
        else (float(grid[best]), losses[best])
    )
    straight_loss = _squares(columns, problem.target, values)
    tiny = 1e-18 * count
    gain = count * np.log((straight_loss + tiny) / (bent_loss + tiny)) - 2 * np.log(count)
    return float(np.exp(knee)) if gain > KNEE_EVIDENCE else None


def _squares(columns: Floats, target: Floats, values: Floats) -> float:
    return float(np.sum((columns @ values - target) ** 2))


def _relative_errors(columns: Floats, target: Floats, values: Floats) -> list[float | None]:
    """Standard errors over values, as of ordinary least squares in the figures that are positive;
    None where there are no more rows than figures."""
    freedom = len(target) - len(values)
    if freedom <= 0:
        return [None] * len(values)
    lengths = np.linalg.norm(columns, axis=0)
    inverse = np.linalg.pinv(columns / lengths)
    variance = _squares(columns, target, values) / freedom
    errors = np.sqrt(variance * np.sum(inverse**2, axis=1)) / lengths
    return list((errors / values).tolist())


def _condition(columns: Floats, names: Sequence[str]) -> tuple[float, tuple[tuple[str, ...], ...]]:
    """Condition number of the columns scaled to length 1, and the groups of figures that
    share a direction in which the measurements hardly differ."""
    if len(names) < 2:
        return 1.0, ()
    scaled = columns / np.linalg.norm(columns, axis=0)
    _, singular, directions = np.linalg.svd(scaled, full_matrices=False)
    shares = (directions / singular[:, None]) ** 2
    shares /= shares.sum(axis=0)
    bad = np.flatnonzero(singular[0] / singular > CONDITION_INDEX)
    if not len(bad):
        return float(singular[0] / singular[-1]), ()
    # A figure may have its variance from several such directions: the largest is its own.
    doubtful = shares[bad].sum(axis=0) > VARIANCE_SHARE
    own = bad[shares[bad].argmax(axis=0)]
    groups: list[set[str]] = []
    for index in bad:
        members = doubtful & (own == index)
        if members.sum() == 1:  # the others of its direction are even worse known by another
            size = np.abs(directions[index])
            members |= size > size.max() / 4
        group = {name for name, is_one in zip(names, members, strict=True) if is_one}
        for other in [other for other in groups if other & group]:
            groups.remove(other)
            group |= other
        if len(group) > 1:
            groups.append(group)
    together = tuple(tuple(name for name in names if name in group) for group in groups)
    return float(singular[0] / singular[-1]), together
