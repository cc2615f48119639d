"""Which replicas may serve a request, and which of them first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from simlora.scenario.deployment import Deployment, Tenant
from simlora.scenario.eligibility import (
    dedicated_pools,
    eligible_pools,
    group_model,
    home_region,
    pool_model,
)
from simlora.serving.bin_packing import apportion, pack

Replicas = tuple[int, ...]
Choices = tuple[Replicas, ...]


class Placement:
    """Replicas are numbered through the fleet from 0. `demand` is the expected work of each tenant
    in any unit; only bin-packed placement asks for it.

    A replica serves a request only if its pool's base model is the one that the adapter was trained
    for (of a request to the base model: the one that the tenant asks for), if the tenant may be
    served in its region, and if dedication allows it.

    Bin-packed: the shared replicas of one model and region are split among workload profiles in
    proportion to their demand, at least one each where there are enough, and the tenants of a
    profile are packed onto its replicas (see `bin_packing.pack`), all replicas being alike. A
    tenant is packed in the first region of its choices, and its other replicas there come next.
    What it asks of another base model than its own is not packed.
    """

    def __init__(self, deployment: Deployment, demand: Sequence[float] = ()) -> None:
        scenario = deployment.scenario
        groups = range(len(scenario.tenants))
        self._scenario = scenario
        self._group_of = [tenant.group for tenant in deployment.tenants]
        self._model_of = [adapter.model for adapter in deployment.adapters]
        self._pool_of = [
            index for index, pool in enumerate(scenario.fleet) for _ in range(pool.replicas)
        ]
        self._region_of = [scenario.fleet[pool].region for pool in self._pool_of]
        self._own_model = [group_model(scenario, group) for group in groups]
        self._home = [home_region(scenario, group) for group in groups]
        self._unpacked: dict[tuple[int, str], Choices] = {}
        self._choices: dict[tuple[int, str, Replicas], Choices] = {}
        self._packed: dict[str, list[Replicas]] = {}  # by model and tenant
        if scenario.gateway.placement == "bin_packed":
            if len(demand) != len(deployment.tenants):
                raise ValueError(
                    f"a demand for each of {len(deployment.tenants)} tenants is needed, not "
                    f"{len(demand)}"
                )
            self._pack(deployment.tenants, demand)

    def choices(self, tenant: int, adapter: int) -> Choices:
        """Replicas that may serve the tenant's requests with that adapter (-1: the base model), in
        groups of falling preference: those of the home region, then of each further allowed region
        in the order given; where any region is allowed, all others together. Bin-packed, the
        replicas of the tenant come before the others of their group. Empty if none may."""
        group = self._group_of[tenant]
        model = self._model_of[adapter] if adapter >= 0 else self._own_model[group]
        packed = self._packed.get(model)
        own = packed[tenant] if packed else ()
        key = (group, model, own)
        found = self._choices.get(key)
        if found is None:
            found = self._choices[key] = self._preferred(group, model, own)
        return found

    def delay_s(self, tenant: int, replica: int) -> float:
        """Network time of the tenant's requests to a replica: 0 in the home region."""
        if self._region_of[replica] == self._home[self._group_of[tenant]]:
            return 0.0
        return self._scenario.gateway.cross_region_s

    def region_of(self, replica: int) -> str:
        """Where a replica stands."""
        return self._region_of[replica]

    def pool_of(self, replica: int) -> int:
        """The fleet entry that a replica belongs to."""
        return self._pool_of[replica]

    def _preferred(self, group: int, model: str, own: Replicas) -> Choices:
        choices = self._by_region(group, model)
        if not own:
            return choices
        others = tuple(replica for replica in choices[0] if replica not in own)
        return (own, others, *choices[1:]) if others else (own, *choices[1:])

    def _by_region(self, group: int, model: str) -> Choices:
        """The choices of a tenant group where nothing is packed."""
        key = (group, model)
        if key not in self._unpacked:
            pools = set(eligible_pools(self._scenario, group, model))
            may = [replica for replica, pool in enumerate(self._pool_of) if pool in pools]
            regions, home = self._scenario.tenants[group].regions, self._home[group]
            if regions:
                parts = [[r for r in may if self._region_of[r] == region] for region in regions]
            else:
                parts = [
                    [r for r in may if self._region_of[r] == home],
                    [r for r in may if self._region_of[r] != home],
                ]
            self._unpacked[key] = tuple(tuple(part) for part in parts if part)
        return self._unpacked[key]

    # --- bin packing --------------------------------------------------------------------

    def _pack(self, tenants: Sequence[Tenant], demand: Sequence[float]) -> None:
        """Pack the tenants of groups that no pool is dedicated to."""
        groups = self._scenario.tenants
        shared = [not dedicated_pools(self._scenario, group) for group in range(len(groups))]
        profile_of = [group.profile or group.name for group in groups]
        # Tenants and their demand, by profile, of each model and region.
        cells: dict[tuple[str, str], dict[str, dict[int, float]]] = {}
        for tenant in tenants:
            if not shared[tenant.group]:
                continue
            model = self._own_model[tenant.group]
            home = self._by_region(tenant.group, model)[0]
            cell = cells.setdefault((model, self._region_of[home[0]]), defaultdict(dict))
            cell[profile_of[tenant.group]][tenant.index] = demand[tenant.index]
        for (model, region), profiles in cells.items():
            packed = self._packed.setdefault(model, [()] * len(tenants))
            replicas = self._shared_replicas(model, region)
            wanted = [sum(members.values()) for members in profiles.values()]
            for members, places in zip(profiles.values(), _places(replicas, wanted), strict=True):
                found = pack(list(members.values()), len(places))
                for tenant_index, bins in zip(members, found, strict=True):
                    packed[tenant_index] = tuple(places[each] for each in bins)

    def _shared_replicas(self, model: str, region: str) -> list[int]:
        fleet = self._scenario.fleet
        pools = {
            index
            for index, pool in enumerate(fleet)
            if not pool.tenants
            and pool.region == region
            and pool_model(self._scenario, index).name == model
        }
        return [replica for replica, pool in enumerate(self._pool_of) if pool in pools]


def _places(replicas: Sequence[int], wanted: Sequence[float]) -> list[Replicas]:
    """The replicas of each profile; where there are too few for that, profiles are packed too."""
    if len(wanted) > len(replicas):
        return [tuple(replicas[each] for each in bins) for bins in pack(wanted, len(replicas))]
    places, first = [], 0
    for count in apportion(len(replicas), wanted):
        places.append(tuple(replicas[first : first + count]))
        first += count
    return places
