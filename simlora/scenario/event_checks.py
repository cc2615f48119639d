"""What must hold of events and of autoscaled pools across the fields of a scenario."""

from __future__ import annotations

from simlora.scenario.events import CorruptAdapter, Crash, PoolLeak, RegionOutage, SlowGpu
from simlora.scenario.problems import FieldError, did_you_mean, one_of
from simlora.scenario.schema import Scenario, TenantGroup
from simlora.scenario.time_checks import check_before_end


def check_events(scenario: Scenario) -> None:
    """Raises FieldError for the first event that cannot happen, or only after the arrivals have
    ended. Names of adapters are looked up when the scenario is expanded."""
    replicas = sum(pool.replicas for pool in scenario.fleet)
    regions = list(dict.fromkeys(pool.region for pool in scenario.fleet))
    for index, event in enumerate(scenario.events):
        where = ("events", index)
        for kind, field in ((Crash, "crash"), (SlowGpu, "slow_gpu"), (PoolLeak, "pool_leak")):
            if isinstance(event, kind) and getattr(event, field) >= replicas:
                raise FieldError(
                    (*where, field),
                    f"there is no replica {getattr(event, field)}: they count through the fleet "
                    f"from 0 to {replicas - 1}",
                )
        if isinstance(event, RegionOutage) and event.region_outage not in regions:
            raise FieldError(
                (*where, "region_outage"),
                f'no region "{event.region_outage}": {did_you_mean(event.region_outage, regions)}',
            )
        check_before_end(scenario, (*where, "at_s"), event.at_s)


def corrupt_names(scenario: Scenario) -> list[tuple[tuple[str | int, ...], str]]:
    """Where adapters are said to be corrupt, and their names."""
    named: list[tuple[tuple[str | int, ...], str]] = [
        (("adapters", "loading", "corrupt", index), name)
        for index, name in enumerate(scenario.adapters.loading.corrupt)
    ]
    named += [
        (("events", index, "corrupt_adapter"), event.corrupt_adapter)
        for index, event in enumerate(scenario.events)
        if isinstance(event, CorruptAdapter)
    ]
    return named


def check_corrupt(scenario: Scenario) -> None:
    """Raises FieldError for the first adapter said to be corrupt that there is not."""
    for where, name in corrupt_names(scenario):
        if not any(_has_adapter(group, name) for group in scenario.tenants):
            names = [f"{g.name}-0000" + ("/0" if g.adapters > 1 else "") for g in scenario.tenants]
            raise FieldError(
                where,
                f'no adapter "{name}": the only adapter of a tenant has the tenant\'s name, '
                f"several are numbered; there is {one_of(names)}",
            )


def _has_adapter(group: TenantGroup, name: str) -> bool:
    """Whether a group has an adapter of that name, without expanding it."""
    name, at, version = name.partition("@")
    if at and (group.rollout is None or version != group.rollout.candidate.name):
        return False
    if group.count == group.adapters == 1 and name == group.name:
        return True
    tenant, slash, number = name.partition("/")
    if bool(slash) != (group.adapters > 1) or (slash and not _counts(number, group.adapters, 1)):
        return False
    group_name, _, place = tenant.rpartition("-")
    return bool(group.adapters) and group_name == group.name and _counts(place, group.count, 4)


def _counts(text: str, count: int, digits: int) -> bool:
    """Whether a text is a number below `count`, written with at least so many digits."""
    return text.isdecimal() and int(text) < count and text == f"{int(text):0{digits}d}"


def check_autoscaling(scenario: Scenario) -> None:
    """Raises FieldError for the first pool that cannot be scaled as asked."""
    for index, pool in enumerate(scenario.fleet):
        if pool.autoscale is None:
            continue
        for field in ("min", "initial"):
            count = getattr(pool.autoscale, field)
            if count is not None and count > pool.replicas:
                raise FieldError(
                    ("fleet", index, "autoscale", field),
                    f"must be at most fleet.{index}.replicas ({pool.replicas}), the most there "
                    f"are, not {count}",
                )
