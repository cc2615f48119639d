"""A scenario expanded: every tenant and adapter by index, the model and the GPUs looked up."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.scenario.catalog import GpuSpec, ModelSpec, load_gpu, load_model
from simlora.scenario.checks import check
from simlora.scenario.problems import FieldError, one_of
from simlora.scenario.schema import Scenario, Tier


@dataclass(frozen=True, slots=True)
class Tenant:
    """One customer. `adapters` are the indexes of its adapters (empty: base model only)."""

    index: int
    name: str
    group: int
    tier: int
    adapters: range


@dataclass(frozen=True, slots=True)
class Adapter:
    """One LoRA adapter; `nbytes` are its weights in bf16."""

    index: int
    name: str
    tenant: int
    rank: int
    parameters: int
    nbytes: int


@dataclass(frozen=True)
class Deployment:
    """What the simulator runs on. `gpus` holds one entry a pool, with the pool's own price.

    The indexes say which tenant or adapter a name in a trace means; the only tenant of a group of
    one is also known by the group's bare name.
    """

    scenario: Scenario
    model: ModelSpec
    gpus: tuple[GpuSpec, ...]
    tenants: tuple[Tenant, ...]
    adapters: tuple[Adapter, ...]
    tier_names: tuple[str, ...]
    tiers: tuple[Tier, ...]
    tenant_index: dict[str, int]
    adapter_index: dict[str, int]


def expand(scenario: Scenario) -> Deployment:
    """Expand a scenario. Raises UserError for anything that is wrong across its fields."""
    check(scenario)
    model = load_model(scenario.model, scenario.catalog)
    tiers = dict(scenario.tiers)
    for group in scenario.tenants:
        tiers.setdefault(group.tier, Tier())
    tenants, adapters = _expand_tenants(scenario, model, {name: i for i, name in enumerate(tiers)})
    tenant_index = {tenant.name: tenant.index for tenant in tenants}
    adapter_index = {adapter.name: adapter.index for adapter in adapters}
    for tenant in tenants:
        group = scenario.tenants[tenant.group]
        if group.count == 1:  # a customer of its own may be called by the group's bare name
            tenant_index.setdefault(group.name, tenant.index)
            if group.adapters == 1:
                adapter_index.setdefault(group.name, tenant.adapters[0])
    for index, name in enumerate(scenario.adapters.loading.corrupt):
        if name not in adapter_index:
            raise FieldError(
                ("adapters", "loading", "corrupt", index),
                f'no adapter "{name}": the only adapter of a tenant has the tenant\'s name, '
                f"several are numbered; there is {one_of(list(adapter_index)[:3] or ['none'])}",
            )
    return Deployment(
        scenario=scenario,
        model=model,
        gpus=tuple(_pool_gpu(scenario, pool) for pool in range(len(scenario.fleet))),
        tenants=tenants,
        adapters=adapters,
        tier_names=tuple(tiers),
        tiers=tuple(tiers.values()),
        tenant_index=tenant_index,
        adapter_index=adapter_index,
    )


def _pool_gpu(scenario: Scenario, pool_index: int) -> GpuSpec:
    pool = scenario.fleet[pool_index]
    gpu = load_gpu(pool.gpu, scenario.catalog)
    if pool.usd_per_gpu_hour is None:
        return gpu
    sources = gpu.sources | {"usd_per_hour": "given in the scenario"}
    return gpu.model_copy(update={"usd_per_hour": pool.usd_per_gpu_hour, "sources": sources})


def _expand_tenants(
    scenario: Scenario, model: ModelSpec, tier_index: dict[str, int]
) -> tuple[tuple[Tenant, ...], tuple[Adapter, ...]]:
    tenants: list[Tenant] = []
    adapters: list[Adapter] = []
    for group_index, group in enumerate(scenario.tenants):
        shape = group.adapter
        parameters = model.lora_parameters(shape.rank, shape.targets)
        for number in range(group.count):
            name = f"{group.name}-{number:04d}"
            first = len(adapters)
            tenant = Tenant(
                index=len(tenants),
                name=name,
                group=group_index,
                tier=tier_index[group.tier],
                adapters=range(first, first + group.adapters),
            )
            tenants.append(tenant)
            for k in range(group.adapters):
                adapter_name = name if group.adapters == 1 else f"{name}/{k}"
                adapters.append(
                    Adapter(
                        first + k,
                        adapter_name,
                        tenant.index,
                        shape.rank,
                        parameters,
                        2 * parameters,
                    )
                )
    return tuple(tenants), tuple(adapters)
