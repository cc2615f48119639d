"""The money question of a run: what each tenant costs, and would cost otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import fsum
from typing import Any

import pandas as pd

from simlora.cost.alternatives import (
    SHARED,
    BreakEven,
    Curve,
    Dedication,
    Demand,
    Reign,
    break_even,
    cheapest,
    curves,
    dedicate,
    demand,
    on_the_same_demand,
    setup_usd,
)
from simlora.cost.density import Place, places
from simlora.cost.growth import Later, growth
from simlora.cost.lifecycle import Gone, Moved, Retraining, deletion, migrate, retraining
from simlora.cost.margin import Units, by_tier, margins, units
from simlora.cost.month import Month, month
from simlora.cost.prices import rented_usd_per_gpu_hour
from simlora.cost.training import Estimate, estimate
from simlora.cost.usage import months_of, read_usage, rents
from simlora.errors import UserError
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result
from simlora.scenario.catalog import ModelSpec, load_gpu, load_model
from simlora.scenario.cost import Training
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.loading import load_scenario
from simlora.scenario.problems import did_you_mean
from simlora.scenario.schema import ModelChoice, Scenario


@dataclass(frozen=True, slots=True)
class Costs:
    """All figures are of a month in which everything goes on as in the run, in USD.

    `tenants` and `tiers` are tables (see `simlora.cost.margin`); `run_usd` is what the fleet cost
    in the run itself; `setup_usd` what it takes to set up an adapter, and `setup_usd_month` what
    that is a month for a tenant's, which ways with LoRA have and the bill has not. `break_evens`:
    at how many queries a month of one tenant each way becomes cheaper than shared LoRA, or dearer.
    """

    name: str
    attribution: str
    idle: str
    run_usd: float
    scale: float
    month: Month
    setup_usd: float
    setup_usd_month: float
    tenants: pd.DataFrame
    tiers: pd.DataFrame
    units: Units
    training: Estimate | None
    retraining: Retraining | None
    demand: Demand
    ways: dict[str, Curve]
    same_demand: dict[str, float]
    reigns: list[Reign]
    break_evens: dict[str, BreakEven]
    dedications: list[Dedication]
    growth: list[Later]
    places: list[Place]
    migration: Moved | None
    deletion: Gone


def scenario_of(result: Result) -> Scenario:
    """The scenario that a result directory holds.

    Raises:
        UserError: it is not there, or is none.
    """
    path = result.directory / RESOLVED_SCENARIO
    if not path.is_file():
        raise UserError(f"{path}: no such file, so nobody knows what things cost in this run")
    return load_scenario(path)


def costs(result: Result, scenario: Scenario, dedicated: Sequence[str] = ()) -> Costs:
    """What a run's tenants cost, by the prices of `scenario`, which is the run's but for its `cost`
    block. `dedicated`: tenants of whom it is asked whether to dedicate an instance to them.

    Raises:
        UserError: a name in `dedicated` is not known, or the result is of another scenario.
        NotTakenDown: it is of a version that did not take down who used what.
    """
    deployment, cost, summary = expand(scenario), scenario.cost, result.summary
    usage = read_usage(result)
    rented = rents(deployment, summary, cost)
    table = result.tenants
    if len(table) != len(deployment.tenants):
        raise UserError(f"{result.directory}: has {len(table)} tenants, not those of its scenario")
    trained = _training(scenario, cost.training, deployment.model)
    full = _training(scenario, cost.alternatives.full_training, deployment.model, full=True)
    whole = month(deployment, summary, usage, rented, cost, trained)
    rows = margins(deployment, summary, table, usage, whole, cost)
    scale = months_of(summary)
    of = demand(deployment, summary, usage, rented, table["offered"].tolist(), cost)
    adapters = len(deployment.adapters)
    each_has = sum(len(tenant.adapters) for tenant in deployment.tenants) / len(deployment.tenants)
    once_usd = setup_usd(cost, trained)
    ways = curves(
        of,
        cost,
        trained,
        full,
        adapter_gb=fsum(a.nbytes for a in deployment.adapters) / max(adapters, 1) / 1e9,
        model_gb=deployment.model.weight_bytes(scenario.model.weights) / 1e9,
        adapters=each_has,
    )
    hourly_usd = fsum(rent.usd for rent in rented) / summary["simulation"]["span_s"] * 3600
    gpu_h = fsum(rent.gpu_s for rent in rented) / 3600
    gpu_hour_usd = (
        fsum(rent.usd for rent in rented) / gpu_h
        if gpu_h
        else rented_usd_per_gpu_hour(deployment.gpus[0].usd_per_hour, cost)
    )
    longest_s = table["e2e_p99_s"].max()
    return Costs(
        name=summary["name"],
        attribution=_method(scenario),
        idle=cost.attribution.idle,
        run_usd=fsum(rent.usd for rent in rented),
        scale=scale,
        month=whole,
        setup_usd=once_usd,
        setup_usd_month=each_has * once_usd / cost.alternatives.amortize_months,
        tenants=rows,
        tiers=by_tier(rows, deployment.tier_names),
        units=units(deployment, usage, whole, fsum(table["offered"]), scale, cost),
        training=trained,
        retraining=None
        if cost.training is None or trained is None
        else retraining(adapters, cost.training, trained),
        demand=of,
        ways=ways,
        same_demand=on_the_same_demand(of, ways),
        reigns=cheapest(ways),
        break_evens={
            name: break_even(ways[SHARED], way) for name, way in ways.items() if name != SHARED
        },
        dedications=[_dedication(name, rows, deployment, ways) for name in dedicated],
        growth=growth(deployment, summary, rented, of, cost),
        places=places(scenario),
        migration=_migration(scenario, deployment, hourly_usd, gpu_hour_usd),
        deletion=deletion(cost.deletion, 0.0 if pd.isna(longest_s) else float(longest_s)),
    )


def _training(
    scenario: Scenario, asked: Training | None, model: ModelSpec, *, full: bool = False
) -> Estimate | None:
    if asked is None:
        return None
    return estimate(asked, model, load_gpu(asked.gpu, scenario.catalog), full=full)


def _method(scenario: Scenario) -> str:
    parts = scenario.cost.attribution.method.model_dump()
    used = {name: part for name, part in parts.items() if part}
    if len(used) == 1:
        return next(iter(used))
    return " + ".join(f"{100 * part:g} % {name}" for name, part in used.items())


def _dedication(
    name: str, rows: pd.DataFrame, deployment: Deployment, ways: dict[str, Curve]
) -> Dedication:
    if name not in deployment.tenant_index:
        raise UserError(f'no tenant "{name}": {did_you_mean(name, deployment.tenant_index)}')
    row = rows.iloc[deployment.tenant_index[name]]
    return dedicate(row["tenant"], float(row["requests"]), float(row["credit_usd"]), ways)


def _migration(
    scenario: Scenario, deployment: Deployment, usd_per_hour: float, usd_per_gpu_hour: float
) -> Moved | None:
    cost = scenario.cost
    asked = cost.migration
    if asked is None:
        return None
    weights = scenario.model.weights
    model = load_model(ModelChoice(name=asked.to, weights=weights), scenario.catalog)
    each = _training(scenario, cost.training, model)
    if cost.training is not None:
        shape = cost.training.adapter
        parameters = model.lora_parameters(shape.rank, shape.targets)
    else:
        parameters = max(
            (
                model.lora_parameters(group.adapter.rank, group.adapter.targets)
                for group in scenario.tenants
                if group.adapters
            ),
            default=0,
        )
    return migrate(
        deployment,
        asked,
        cost.training,
        each,
        model.weight_bytes(weights),
        2 * parameters,
        usd_per_hour,
        usd_per_gpu_hour,
    )


def as_json(found: Costs) -> dict[str, Any]:
    """Plain values; None where there is no figure. The tenants' costs are in whole cents that add
    up to theirs of the bill."""
    from simlora.cost.money import in_cents

    rows = found.tenants.astype(object).where(found.tenants.notna(), None)
    tenants = rows.to_dict("records")
    cents = in_cents(found.tenants["cost_usd"].to_numpy(), fsum(found.tenants["cost_usd"]))
    tiers = found.tiers.astype(object).where(found.tiers.notna(), None)
    plain = asdict(
        replace(found, tenants=pd.DataFrame(), tiers=pd.DataFrame(), ways={})  # no copies of them
    )
    plain["tenants"] = [row | {"cost_usd": usd} for row, usd in zip(tenants, cents, strict=True)]
    plain["tiers"] = tiers.to_dict("index")
    plain["month"] = {"usd": found.month.usd, "bill": found.month.bill}
    plain["month"]["nobody_usd"] = found.month.nobody_usd
    plain["deletion"]["last_days"] = found.deletion.last_days
    del plain["ways"]
    del plain["demand"]["queries"]
    return plain
