"""What isolating prefix caches costs, and what leaving them shared gives away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
import pandas as pd

from simlora.errors import UserError
from simlora.planning.attack import draw_probes
from simlora.planning.attack_statistics import Auc, auc, bits_per_guess
from simlora.planning.harm import without
from simlora.planning.isolation_runs import Price, Time, attacked, price
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.engine import PrefixCaching
from simlora.scenario.problems import FieldError, given, one_of
from simlora.scenario.schema import Scenario
from simlora.validation.processes import run_each
from simlora.workload.traffic import open_traffic

NOISE = "+noise"
ISOLATIONS = get_args(PrefixCaching.model_fields["isolation"].annotation)
DEFAULT_MODES = ("adapter", "tenant", "selective", "shared", f"shared{NOISE}")
DEFAULT_PROBES = 4_000
DEFAULT_NOISE_S = 0.2
DEFAULT_FASTER = 8.0


@dataclass(frozen=True, slots=True)
class Leak:
    """What the attacker learns under one mode. `probes` are those that were answered after the
    warm-up. `hit_share` is, of its right guesses, the share that the cache had some of: content
    that it had not sent itself and that is not public. Times are medians of right and of wrong
    guesses, in seconds."""

    mode: str
    probes: int
    hit_share: float
    auc: Auc
    bits: float
    ttft_right_s: float
    ttft_wrong_s: float


@dataclass(frozen=True, slots=True)
class Isolation:
    """The attacker's gain and the platform's price by mode. `probes` has a row a mode and probe;
    `saturated` are the prices with all arrivals `faster` times as fast (empty: not asked for)."""

    attacker: str
    seed: int
    noise_s: float
    faster: float
    leaks: tuple[Leak, ...]
    prices: tuple[Price, ...]
    saturated: tuple[Price, ...]
    probes: pd.DataFrame


def isolation(
    scenario: Scenario,
    attacker: str | None = None,
    *,
    probes: int = DEFAULT_PROBES,
    modes: Sequence[str] = DEFAULT_MODES,
    noise_s: float | None = None,
    faster: float = DEFAULT_FASTER,
    jobs: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Isolation:
    """Attack a scenario's prefix cache under each mode, and price each mode without the attacker.

    All modes meet the same requests and the same probes, in place of whatever requests of its own
    the attacker has in the scenario; it is the last tenant unless named. A mode is a value of
    `engine.prefix_cache.isolation`, with `+noise` if answers are to be held back at random, up to
    `noise_s` (default: the scenario's `timing_noise_s`, or else 0.2). `faster` 0 leaves the
    saturating load out. The figures are the same for any number of `jobs`, which are processes.

    Raises:
        UserError: no such tenant or mode, no prefix cache or nothing to guess, or whatever is wrong
            with the scenario.
        KeyboardInterrupt: a run was interrupted.
    """
    deployment = expand(scenario)
    index = _attacker(deployment, attacker)
    cache = scenario.engine.prefix_cache
    if not cache.enabled:
        raise FieldError(
            ("engine", "prefix_cache", "enabled"), "is false, so there is no cache to isolate"
        )
    noise_s = noise_s or cache.timing_noise_s or DEFAULT_NOISE_S
    modes = list(dict.fromkeys(modes))
    variants = [_variant(scenario, mode, noise_s) for mode in modes]
    drawn = draw_probes(deployment, without(open_traffic(deployment), index), index, probes)
    rates = [1.0, faster] if faster else [1.0]
    calls: list[_Call] = [(variant, index, probes, None) for variant in variants]
    calls += [(variant, index, 0, rate) for rate in rates for variant in variants]
    found = _found(calls, jobs, progress)
    tables, leaks = [], []
    for mode, times in zip(modes, found, strict=False):
        assert isinstance(times, Time)
        table = pd.DataFrame(
            {
                "mode": mode,
                "arrival_s": drawn.arrival_s,
                "right": drawn.right,
                "prompt_tokens": drawn.prompt_tokens,
                "known_tokens": drawn.known_tokens,
                "found_tokens": times.cached_tokens,
                "ttft_s": times.ttft_s,
            }
        )
        tables.append(table)
        leaks.append(_leak(mode, table[table["arrival_s"] >= scenario.run.warmup_s]))
    prices = [
        replace(one, mode=mode)
        for mode, one in zip(modes * len(rates), found[len(modes) :], strict=True)
        if isinstance(one, Price)
    ]
    return Isolation(
        deployment.tenants[index].name,
        scenario.seed,
        noise_s,
        faster,
        tuple(leaks),
        tuple(prices[: len(modes)]),
        tuple(prices[len(modes) :]),
        pd.concat(tables, ignore_index=True),
    )


def as_json(found: Isolation) -> dict[str, Any]:
    """All figures but those of single probes as plain values."""
    return {
        "attacker": found.attacker,
        "seed": found.seed,
        "timing_noise_s": found.noise_s,
        "faster": found.faster,
        "leaks": [asdict(leak) for leak in found.leaks],
        "prices": _with_taxes(found.prices),
        "saturated": _with_taxes(found.saturated),
    }


def taxes(prices: Sequence[Price]) -> list[dict[str, float | None]]:
    """For each price, by field: how much more it is than that of sharing everything, in per cent of
    the latter (None: there is no figure). Empty if `shared` was not among the modes."""
    base = next((price for price in prices if price.mode == "shared"), None)
    if base is None:
        return []
    known = _figures(base)
    return [
        {
            key: 100 * (value / known[key] - 1) if value is not None and known[key] else None
            for key, value in _figures(price).items()
        }
        for price in prices
    ]


def _with_taxes(prices: Sequence[Price]) -> list[dict[str, Any]]:
    by_mode = taxes(prices)
    return [
        asdict(price) | {"percent_over_shared": by_mode[row] if by_mode else None}
        for row, price in enumerate(prices)
    ]


def _figures(price: Price) -> dict[str, Any]:
    return {key: value for key, value in asdict(price).items() if key not in ("mode", "completed")}


def runs_of(modes: Sequence[str], faster: float) -> int:
    """How many simulations `isolation` makes."""
    return len(modes) * (3 if faster else 2)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a run left; nothing if it was interrupted, or ended by the user's mistake."""

    found: Time | Price | None = None
    mistake: str = ""


# Scenario, index of the attacker, and either how many probes, or no attack and the rate to price.
_Call = tuple[Scenario, int, int, float | None]


def _found(
    calls: Sequence[_Call], jobs: int, progress: Callable[[int], None] | None
) -> list[Time | Price]:
    """What each call found, in their order."""
    found: dict[int, Time | Price] = {}
    with closing(run_each(_run, calls, jobs)) as outcomes:
        for place, outcome in outcomes:
            if outcome.mistake:
                raise UserError(outcome.mistake)
            if outcome.found is None:
                raise KeyboardInterrupt
            found[place] = outcome.found
            if progress is not None:
                progress(len(found))
    return [found[place] for place in range(len(calls))]


def _run(scenario: Scenario, attacker: int, probes: int, rate: float | None) -> _Outcome:
    try:
        if rate is None:
            return _Outcome(attacked(scenario, attacker, probes))
        return _Outcome(price(scenario, attacker, rate))
    except UserError as error:
        return _Outcome(mistake=str(error))


def _variant(scenario: Scenario, mode: str, noise_s: float) -> Scenario:
    name = mode.removesuffix(NOISE)
    if name not in ISOLATIONS:
        raise UserError(
            f"modes: {given(mode)} is none; allowed are {one_of(ISOLATIONS)}, "
            f"each also with {NOISE}"
        )
    return scenario.with_overrides(
        {
            "engine.prefix_cache.isolation": name,
            "engine.prefix_cache.timing_noise_s": noise_s if mode.endswith(NOISE) else 0.0,
        }
    )


def _leak(mode: str, table: pd.DataFrame) -> Leak:
    answered = table[table["ttft_s"].notna()]
    right, ttft_s = answered["right"].to_numpy(), answered["ttft_s"].to_numpy()
    if right.all() or not right.any():
        raise UserError(
            f"probes: of the attacker's requests only {len(answered)} are answered after the "
            "warm-up, too few to compare right and wrong guesses"
        )
    hit = (answered["found_tokens"] > answered["known_tokens"]).to_numpy()
    return Leak(
        mode,
        len(answered),
        float(hit[right].mean()),
        auc(ttft_s, right),
        bits_per_guess(ttft_s, right),
        float(np.median(ttft_s[right])),
        float(np.median(ttft_s[~right])),
    )


def _attacker(deployment: Deployment, name: str | None) -> int:
    if name is None:
        return deployment.tenants[-1].index
    if name not in deployment.tenant_index:
        some = one_of((tenant.name for tenant in deployment.tenants), limit=3)
        raise UserError(f"attacker: no tenant {given(name)} (the scenario has {some})")
    return deployment.tenant_index[name]
