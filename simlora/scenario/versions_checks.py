"""What must hold of the rollouts of tenant groups."""

from __future__ import annotations

from simlora.scenario.eligibility import eligible_pools, pool_model
from simlora.scenario.problems import FieldError, Path, did_you_mean
from simlora.scenario.schema import Rollout, Scenario
from simlora.scenario.time_checks import check_before_end
from simlora.scenario.versions import STABLE

_SHARED = ("canary", "ab", "shadow")  # modes that give the candidate a share of the requests


def check_versions(scenario: Scenario, most_adapters: int) -> None:
    """Raises FieldError for the first thing that does not fit together."""
    for index, group in enumerate(scenario.tenants):
        if group.rollout is None:
            continue
        where = ("tenants", index, "rollout")
        if not group.adapters:
            raise FieldError(where, "needs adapters, and the group has none")
        if group.rollout.mode != "pinned":
            _check_fields(group.rollout, where)
            check_before_end(scenario, (*where, "start_s"), group.rollout.start_s)
        _check_candidate(scenario, index, group.rollout)
    adapters = sum(g.count * g.adapters * (1 + (g.rollout is not None)) for g in scenario.tenants)
    if adapters > most_adapters:
        raise FieldError(
            ("tenants",),
            f"{adapters:,} adapters, both versions counted, are more than {most_adapters:,}",
        )
    _check_pinned(scenario)


def _check_fields(rollout: Rollout, where: Path) -> None:
    """Each mode has fields that it needs, and some that it has no use for."""
    mode = rollout.mode
    needed = "share" if mode in _SHARED else "every_s"
    if getattr(rollout, needed) is None:
        raise FieldError((*where, needed), f"is missing: mode: {mode} needs it")
    others = ("every_s",) if mode in _SHARED else ("share", "end_s", "rollback")
    for field in others:
        if getattr(rollout, field) is not None:
            raise FieldError((*where, field), f"has no meaning in mode: {mode}")
    if rollout.end_s is not None and rollout.end_s <= rollout.start_s:
        raise FieldError(
            (*where, "end_s"),
            f"must be greater than start_s ({rollout.start_s:g}), not {rollout.end_s:g}",
        )


def _check_candidate(scenario: Scenario, group_index: int, rollout: Rollout) -> None:
    candidate = rollout.candidate
    where = ("tenants", group_index, "rollout", "candidate")
    if candidate.name == STABLE:
        raise FieldError((*where, "name"), f'"{STABLE}" is the name of the other version')
    if candidate.model is not None and not eligible_pools(scenario, group_index, candidate.model):
        served = [pool_model(scenario, pool).name for pool in range(len(scenario.fleet))]
        known = list(dict.fromkeys(served))
        raise FieldError(
            (*where, "model"),
            f'no pool that may serve the group serves "{candidate.model}"; '
            + did_you_mean(candidate.model, known),
        )
    shape, max_rank = candidate.adapter, scenario.engine.memory.max_lora_rank
    if shape is not None and max_rank is not None and shape.rank > max_rank:
        raise FieldError(
            (*where, "adapter", "rank"),
            f"must be at most engine.memory.max_lora_rank ({max_rank}), not {shape.rank}",
        )


def _check_pinned(scenario: Scenario) -> None:
    """Pinned adapters, candidates among them, must leave room in the hot tier for the others."""
    memory, hot = scenario.engine.memory, scenario.adapters.hot
    capacity = memory.max_loras if memory.mode == "slots" else hot.max_adapters
    if hot.adaptive is not None:
        capacity = hot.adaptive.min_adapters
    pinned = {True: 0, False: 0}
    for group in scenario.tenants:
        versions = 2 if group.rollout is not None else 1
        pinned[group.tier in hot.pinned_tiers] += group.count * group.adapters * versions
    if capacity is None or not pinned[True]:
        return
    if pinned[True] > capacity or (pinned[True] == capacity and pinned[False]):
        raise FieldError(
            ("adapters", "hot", "pinned_tiers"),
            f"{pinned[True]} pinned adapters, both versions counted, leave no room for the others: "
            f"only {capacity} may be hot",
        )
