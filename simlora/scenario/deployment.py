"""A scenario expanded: every tenant and adapter by index, the model and the GPUs looked up."""

from __future__ import annotations

from dataclasses import dataclass, field

from simlora.scenario.catalog import GpuSpec, ModelSpec, Weights, load_gpu, load_model
from simlora.scenario.checks import check
from simlora.scenario.eligibility import eligible_pools, group_model, pool_model
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
    """One LoRA adapter; `nbytes` are its weights in bf16, `model` is the name of the base model it
    was trained for."""

    index: int
    name: str
    tenant: int
    rank: int
    parameters: int
    nbytes: int
    model: str


@dataclass(frozen=True)
class Deployment:
    """What the simulator runs on. `model` is the scenario's; `models`, `weights` and `gpus` hold
    one entry a pool: its base model, how the model's weights are stored, and its GPU with the
    pool's own price.

    The indexes say which tenant or adapter a name in a trace means; the only tenant of a group of
    one is also known by the group's bare name. `candidates` gives the next version of each adapter
    of a group with a rollout; these are adapters too, after all that `Tenant.adapters` hold.
    """

    scenario: Scenario
    model: ModelSpec
    models: tuple[ModelSpec, ...]
    weights: tuple[Weights, ...]
    gpus: tuple[GpuSpec, ...]
    tenants: tuple[Tenant, ...]
    adapters: tuple[Adapter, ...]
    tier_names: tuple[str, ...]
    tiers: tuple[Tier, ...]
    tenant_index: dict[str, int]
    adapter_index: dict[str, int]
    candidates: dict[int, int] = field(default_factory=dict)
    _served: dict[int, tuple[Adapter, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def served_by(self, pool_index: int) -> tuple[Adapter, ...]:
        """The adapters that a pool may serve, in their order."""
        if pool_index not in self._served:
            self._served[pool_index] = self._find_served(pool_index)
        return self._served[pool_index]

    def _find_served(self, pool_index: int) -> tuple[Adapter, ...]:
        may: dict[tuple[int, str], bool] = {}
        served = []
        for adapter in self.adapters:
            key = (self.tenants[adapter.tenant].group, adapter.model)
            if key not in may:
                may[key] = pool_index in eligible_pools(self.scenario, *key)
            if may[key]:
                served.append(adapter)
        return tuple(served)


def expand(scenario: Scenario) -> Deployment:
    """Expand a scenario. Raises UserError for anything that is wrong across its fields."""
    check(scenario)
    specs = model_specs(scenario)
    tiers = dict(scenario.tiers)
    for group in scenario.tenants:
        tiers.setdefault(group.tier, Tier())
    tenants, primaries = _expand_tenants(scenario, specs, {name: i for i, name in enumerate(tiers)})
    candidates = _candidates(scenario, specs, tenants, primaries)
    adapters = (*primaries, *candidates.values())
    tenant_index = {tenant.name: tenant.index for tenant in tenants}
    adapter_index = {adapter.name: adapter.index for adapter in adapters}
    for tenant in tenants:
        group = scenario.tenants[tenant.group]
        if group.count == 1:  # a customer of its own may be called by the group's bare name
            tenant_index.setdefault(group.name, tenant.index)
            if group.adapters == 1:
                adapter_index.setdefault(group.name, tenant.adapters[0])
    pools = range(len(scenario.fleet))
    return Deployment(
        scenario=scenario,
        model=specs[scenario.model.name],
        models=tuple(specs[pool_model(scenario, pool).name] for pool in pools),
        weights=tuple(pool_model(scenario, pool).weights for pool in pools),
        gpus=tuple(_pool_gpu(scenario, pool) for pool in pools),
        tenants=tenants,
        adapters=adapters,
        tier_names=tuple(tiers),
        tiers=tuple(tiers.values()),
        tenant_index=tenant_index,
        adapter_index=adapter_index,
        candidates={stable: candidate.index for stable, candidate in candidates.items()},
    )


def model_specs(scenario: Scenario) -> dict[str, ModelSpec]:
    """The base models of a scenario and its pools, by the names that the scenario gives them."""
    choices = [scenario.model, *(pool.model for pool in scenario.fleet if pool.model is not None)]
    return {choice.name: load_model(choice, scenario.catalog) for choice in choices}


def _pool_gpu(scenario: Scenario, pool_index: int) -> GpuSpec:
    pool = scenario.fleet[pool_index]
    gpu = load_gpu(pool.gpu, scenario.catalog)
    if pool.usd_per_gpu_hour is None:
        return gpu
    sources = gpu.sources | {"usd_per_hour": "given in the scenario"}
    return gpu.model_copy(update={"usd_per_hour": pool.usd_per_gpu_hour, "sources": sources})


def _expand_tenants(
    scenario: Scenario, specs: dict[str, ModelSpec], tier_index: dict[str, int]
) -> tuple[tuple[Tenant, ...], tuple[Adapter, ...]]:
    tenants: list[Tenant] = []
    adapters: list[Adapter] = []
    for group_index, group in enumerate(scenario.tenants):
        shape = group.adapter
        model = group_model(scenario, group_index)
        parameters = specs[model].lora_parameters(shape.rank, shape.targets)
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
                        model,
                    )
                )
    return tuple(tenants), tuple(adapters)


def _candidates(
    scenario: Scenario,
    specs: dict[str, ModelSpec],
    tenants: tuple[Tenant, ...],
    primaries: tuple[Adapter, ...],
) -> dict[int, Adapter]:
    """The next version of each adapter of a group with a rollout, by the adapter's index."""
    candidates: dict[int, Adapter] = {}
    for tenant in tenants:
        rollout = scenario.tenants[tenant.group].rollout
        if rollout is None:
            continue
        candidate = rollout.candidate
        shape = candidate.adapter or scenario.tenants[tenant.group].adapter
        model = candidate.model or group_model(scenario, tenant.group)
        parameters = specs[model].lora_parameters(shape.rank, shape.targets)
        for stable in tenant.adapters:
            candidates[stable] = Adapter(
                len(primaries) + len(candidates),
                f"{primaries[stable].name}@{candidate.name}",
                tenant.index,
                shape.rank,
                parameters,
                2 * parameters,
                model,
            )
    return candidates
