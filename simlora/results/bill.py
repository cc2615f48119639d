"""The fleet's bill divided among tenants, by what they used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from simlora.results.arrays import Bools, Floats, Ints
from simlora.scenario.cost import METHODS, Attribution

if TYPE_CHECKING:
    from simlora.results.schema import PoolFacts
    from simlora.scenario.deployment import Deployment

SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Each of `simlora.results.usage.QUANTITIES` by pool (rows) and tenant (columns)."""

    quantities: Mapping[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.quantities[name]

    def total(self, name: str) -> Floats:
        """By tenant, over all pools."""
        total: Floats = self.quantities[name].sum(axis=0)
        return total


@dataclass(frozen=True, slots=True)
class Rent:
    """What one pool cost over a run: `usd` for `gpu_s` GPU-seconds, busy or not. `owners`: the
    tenants that it is dedicated to, nobody if it is shared."""

    name: str
    usd: float
    gpu_s: float
    owners: Bools


def rent_of(
    deployment: Deployment, pool: int, name: str, gpu_s: float, usd_per_gpu_hour: float
) -> Rent:
    """The rent of a pool (its place in the fleet) for so many GPU-seconds at that price."""
    dedicated = deployment.scenario.fleet[pool].tenants
    groups = [
        index for index, group in enumerate(deployment.scenario.tenants) if group.name in dedicated
    ]
    group: Ints = np.array([tenant.group for tenant in deployment.tenants])
    owners = np.isin(group, groups)
    return Rent(name, gpu_s * usd_per_gpu_hour / SECONDS_AN_HOUR, gpu_s, owners)


def shares_of_the_bill(
    deployment: Deployment, fleet: Sequence[PoolFacts], quantities: Mapping[str, Floats]
) -> Floats:
    """USD of the run's bill (`summary.fleet_usd`) by tenant. They add up to it, so idle time is
    spread over the tenants even where the scenario gives it a line of its own; the measure of use
    is the one that `cost.attribution.method` asks for."""
    rents = [
        rent_of(deployment, index, "", pool.tensor_parallel * pool.replica_s, pool.usd_per_gpu_hour)
        for index, pool in enumerate(fleet)
    ]
    asked = deployment.scenario.cost.attribution.model_copy(update={"idle": "spread"})
    return divide(Usage(quantities), rents, asked).of_tenants


@dataclass(frozen=True, slots=True)
class Divided:
    """A bill in USD, by tenant: for `serving`, for `cold_starts`, and of what was `idle`;
    `idle_usd` is nobody's. All of them add up to the bill."""

    serving: Floats
    cold_starts: Floats
    idle: Floats
    idle_usd: float

    @property
    def of_tenants(self) -> Floats:
        """What each tenant pays."""
        paid: Floats = self.serving + self.cold_starts + self.idle
        return paid


def divide(usage: Usage, rents: Sequence[Rent], asked: Attribution) -> Divided:
    """The rents divided, pool by pool.

    A pool's rent is that of its busy time and of its idle time. Busy time is divided by the asked
    measure of use, but for the time in which batches stood still for loads: that goes to those
    whose adapters were loaded, over the whole period, not to the requests that met it. Idle time
    has a line of its own, or is spread by the same measure; that of a dedicated pool is its
    owners'. In a pool that nobody used, all of the time is idle.

    What a tenant pays never falls when its own use, in any of the quantities, grows and nothing
    else changes (time of loads is a part of GPU time, and grows with it): its part of a pool is
    `load + (busy - load) * w`, or `load + (rent - load) * w` where idle time is spread, and neither
    its weight `w` nor `load` times the rest's `1 - w` falls.
    """
    tenants = usage["gpu_s"].shape[1]
    serving, cold_starts, idle = np.zeros(tenants), np.zeros(tenants), np.zeros(tenants)
    idle_usd = 0.0
    unused_usd = 0.0  # idle time to be spread, of pools that nobody used
    for pool, rent in enumerate(rents):
        weights = _weights(usage, pool, asked)
        if weights is None:
            if rent.owners.any():
                idle += rent.usd * rent.owners / rent.owners.sum()
            elif asked.idle == "spread":
                unused_usd += rent.usd
            else:
                idle_usd += rent.usd
            continue
        busy_usd, load_usd = _busy(usage, pool, rent)
        serving += (busy_usd - load_usd.sum()) * weights
        cold_starts += load_usd
        rest_usd = rent.usd - busy_usd
        if asked.idle == "spread" or rent.owners.any():
            idle += rest_usd * weights
        else:
            idle_usd += rest_usd
    if unused_usd:
        used = serving + cold_starts
        everybody = used if used.any() else np.ones(tenants)
        idle += unused_usd * everybody / everybody.sum()
    return Divided(serving, cold_starts, idle, idle_usd)


def _busy(usage: Usage, pool: int, rent: Rent) -> tuple[float, Floats]:
    """What the pool's busy time cost, and of it, by tenant, the time of loads. Where no time was
    taken down (a server that says only when tokens came), all of it was busy."""
    gpu_s = usage["gpu_s"][pool]
    busy_s = float(gpu_s.sum())
    if not busy_s or not rent.gpu_s:
        return rent.usd, np.zeros(len(gpu_s))
    # The end of a run may cut a step that was under way when a replica was given back.
    usd_per_s = min(rent.usd / rent.gpu_s, rent.usd / busy_s)
    return busy_s * usd_per_s, usage["load_gpu_s"][pool] * usd_per_s


def _weights(usage: Usage, pool: int, asked: Attribution) -> Floats | None:
    """The share of each tenant by the asked mix of measures; None if nobody used the pool. A
    measure that counted nothing gives way to one that did."""
    measures = _measures(usage, pool, asked)
    counted = {name: values for name, values in measures.items() if values.any()}
    if not counted:
        return None
    shares = np.zeros(len(usage["gpu_s"][pool]))
    for name, part in asked.method.model_dump().items():
        if part:
            values = counted.get(name)
            if values is None:
                values = next(iter(counted.values()))
            shares += part * values / values.sum()
    weights: Floats = shares / shares.sum()
    return weights


def _measures(usage: Usage, pool: int, asked: Attribution) -> dict[str, Floats]:
    """Each method's measure of what tenants used of a pool."""
    gpu_s = usage["gpu_s"][pool]
    # Loads have been paid for. Runs of older versions shared them, so that more may be taken off.
    computing_s = np.maximum(gpu_s - usage["load_gpu_s"][pool], 0.0)
    if not computing_s.any():
        computing_s = gpu_s
    found = {
        "gpu_seconds": computing_s,
        "compute_units": asked.input_weight * usage["input_tflop"][pool]
        + asked.output_weight * usage["output_tflop"][pool],
        "tokens": usage["prompt_tokens"][pool] + usage["output_tokens"][pool],
        "residency": usage["kv_gb_s"][pool] + usage["adapter_gb_s"][pool],
    }
    assert tuple(found) == METHODS
    return found
