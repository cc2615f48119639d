"""A run's fleet in words: GPUs, and what tells its pools apart."""

from __future__ import annotations

from typing import Any

from simlora.report.words import counted, number, usd
from simlora.results.summary import MONTH_H


def fleet_words(simulation: dict[str, Any]) -> str:
    """`llama-3.1-8b on 2 × h100-80gb`; names, models and regions of pools are told if any differ.

    `simulation` is that part of a summary.
    """
    pools = simulation["fleet"]
    named = any(pool.get("name", str(i)) != str(i) for i, pool in enumerate(pools))
    models = {_model(simulation, pool) for pool in pools}
    regions = {pool.get("region") for pool in pools}
    words = []
    for index, pool in enumerate(pools):
        told = f"{pool.get('name', index)}: " if named else ""
        least = pool.get("min_replicas", pool["replicas"])
        told += f"{least} to " if least < pool["replicas"] else ""
        told += f"{pool['replicas']} × {pool['gpu']}"
        if pool["tensor_parallel"] > 1:
            told += f" (× {pool['tensor_parallel']}, tensor parallel)"
        if len(models) > 1:
            told += f" with {_model(simulation, pool)}"
        if len(regions) > 1:
            told += f" in {pool.get('region')}"
        words.append(told)
    fleet = " + ".join(words)
    return fleet if len(models) > 1 else f"{models.pop()} on {fleet}"


def price_words(cost: dict[str, Any]) -> str:
    """What the fleet costs an hour, `$8.00 an hour for 2 GPUs`; of pools that grow and shrink
    on average, and at most. `cost` is that part of a summary."""
    most = cost["gpu_usd_per_hour"]
    mean = cost.get("fleet_usd_per_month", most * MONTH_H) / MONTH_H
    if mean > most * (1 - 1e-9):
        return f"{usd(most)} an hour for {counted(cost['gpus'], 'GPU')}"
    return f"{usd(mean)} an hour on average, {usd(most)} for all {counted(cost['gpus'], 'GPU')}"


def rented_words(summary: dict[str, Any]) -> str:
    """Replica-hours that were rented, and replicas that were up, where that changed; else
    nothing."""
    pools, told = summary["simulation"]["fleet"], []
    if any("min_replicas" in pool for pool in pools):
        hours = sum(pool["replicas"] for pool in pools) * summary["simulation"]["span_s"] / 3600
        rented = number(summary["cost"]["replica_hours"])
        told.append(f"{rented} of {number(hours)} replica-hours rented")
    up = summary.get("replicas_up")
    if up:
        told.append(f"{number(up['mean'])} up on average, {up['least']} to {up['most']}")
    return ", ".join(told)


def is_mixed(simulation: dict[str, Any]) -> bool:
    """Whether the pools differ in model or region."""
    pools = simulation["fleet"]
    return len({(_model(simulation, pool), pool.get("region")) for pool in pools}) > 1


def _model(simulation: dict[str, Any], pool: dict[str, Any]) -> str:
    """The pool's model and how its weights are stored, unless in bf16."""
    weights = pool.get("weights", simulation["weights"])
    model: str = pool.get("model", simulation["model"])
    return model if weights == "bf16" else f"{model} in {weights}"
