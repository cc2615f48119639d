"""What must hold between adapters, the memory they live in and the tiers that keep them."""

from __future__ import annotations

from simlora.scenario.problems import FieldError
from simlora.scenario.schema import Scenario


def check_adapters(scenario: Scenario) -> None:
    """Raises FieldError for the first thing that does not fit together."""
    _check_memory(scenario)
    _check_cold_start(scenario)


def _check_memory(scenario: Scenario) -> None:
    engine, hot = scenario.engine, scenario.adapters.hot
    memory = engine.memory
    slot_fields = {"max_loras": memory.max_loras, "max_lora_rank": memory.max_lora_rank}
    for field, value in slot_fields.items():
        where = ("engine", "memory", field)
        if memory.mode == "unified" and value is not None:
            raise FieldError(where, "belongs to mode: slots, and the mode is unified")
        if memory.mode == "slots" and value is None:
            raise FieldError(where, "is missing: mode: slots needs it")
    _check_hot_bounds(scenario)
    if memory.max_lora_rank is not None:
        _check_ranks(scenario, memory.max_lora_rank)
    capacity = memory.max_loras if memory.mode == "slots" else hot.max_adapters
    if hot.adaptive is not None:
        capacity = hot.adaptive.min_adapters
    if capacity is None:
        return
    most = capacity if hot.adaptive is None else hot.adaptive.max_adapters
    if engine.max_cpu_loras is not None and engine.max_cpu_loras < most:
        raise FieldError(
            ("engine", "max_cpu_loras"),
            f"must be at least the {most} adapters that may be hot, not {engine.max_cpu_loras}",
        )
    _check_pinned(scenario, capacity)


def _check_hot_bounds(scenario: Scenario) -> None:
    hot = scenario.adapters.hot
    for field in ("max_adapters", "capacity_gb", "adaptive"):
        if getattr(hot, field) is None:
            continue
        if scenario.engine.memory.mode == "slots":
            raise FieldError(
                ("adapters", "hot", field),
                "belongs to unified memory; with slots it is engine.memory.max_loras",
            )
        if field == "adaptive" and hot.max_adapters is not None:
            raise FieldError(
                ("adapters", "hot", field),
                "bounds the hot adapters, and so does max_adapters: keep one of them",
            )


def _check_cold_start(scenario: Scenario) -> None:
    """Only a request that waits gets an adapter from below the host's memory without room there."""
    adapters = scenario.adapters
    used = any(group.adapters for group in scenario.tenants)
    if used and adapters.cold_start != "wait" and adapters.warm.capacity_gb == 0:
        raise FieldError(
            ("adapters", "cold_start"),
            f"{adapters.cold_start} needs host memory to fetch adapters into, and "
            "adapters.warm.capacity_gb is 0: no adapter would ever be served",
        )


def _check_ranks(scenario: Scenario, max_rank: int) -> None:
    for index, group in enumerate(scenario.tenants):
        if group.adapters and group.adapter.rank > max_rank:
            raise FieldError(
                ("tenants", index, "adapter", "rank"),
                f"must be at most engine.memory.max_lora_rank ({max_rank}), "
                f"not {group.adapter.rank}",
            )


def _check_pinned(scenario: Scenario, capacity: int) -> None:
    """Pinned adapters that fill the hot tier would leave every other one waiting for ever."""
    pinned_tiers = scenario.adapters.hot.pinned_tiers
    pinned = sum(g.count * g.adapters for g in scenario.tenants if g.tier in pinned_tiers)
    others = sum(g.count * g.adapters for g in scenario.tenants if g.tier not in pinned_tiers)
    if pinned > capacity or (pinned == capacity and others):
        raise FieldError(
            ("adapters", "hot", "pinned_tiers"),
            f"{pinned} pinned adapters leave no room for the others: only {capacity} may be hot",
        )
