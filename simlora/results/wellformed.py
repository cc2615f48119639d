"""Whether what a `summary.json` holds is the summary of a run, as far as readers rely on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simlora.results.tiers import METRICS, PERCENTILES, STATUSES

_FIGURES: dict[str, tuple[str, ...]] = {
    "requests": ("offered", *STATUSES),
    "throughput": ("requests_per_s", "input_tokens_per_s", "output_tokens_per_s"),
    "adapters": ("hit_ratio", "lookups", "loads", "evictions", "bytes_loaded"),
    "prefix_cache": ("hit_ratio", "lookup_tokens", "hit_tokens"),
    "batch": ("mean_running", "mean_step_s", "busy_ratio", "max_num_seqs", "preemptions"),
    "cost": ("gpus", "gpu_usd_per_hour", "usd_per_million_output_tokens"),
    "simulation": ("seed", "span_s", "warmup_s", "events", "wall_s", "requests_per_wall_s"),
}
_NEVER_NULL = ("requests", "batch.preemptions", "adapters.loads", "adapters.evictions")
_OTHERS: dict[str, type] = {
    "name": str,
    "latency": dict,
    "memory": dict,
    "memory.replicas": list,
    "tiers": dict,
    "simulation.version": str,
    "simulation.model": str,
    "simulation.weights": str,
    "simulation.statistics": str,
    "simulation.interrupted": bool,
    "simulation.fleet": list,
    "simulation.timing": dict,
    "simulation.timing.profile": str,
    "simulation.timing.hash": str,
}
_ENTRIES = {
    "memory.replicas": ("pool_pages",),
    "simulation.fleet": ("gpu", "replicas", "tensor_parallel"),
}
_VERDICT = {"promised", "measured", "met"}


def flaw(summary: Any) -> str | None:
    """What is missing or of the wrong type, by its dotted key; None if nothing is."""
    for section, names in _FIGURES.items():
        found = _flawed_figures(summary, section, names)
        if found:
            return found
    for key, kind in _OTHERS.items():
        if not isinstance(_at(summary, key), kind):
            return key
    for key, names in _ENTRIES.items():
        for entry in _at(summary, key):
            if not isinstance(entry, dict) or not entry.keys() >= set(names):
                return key
    latencies = {"latency": summary["latency"]}
    latencies |= {f"tiers.{name}": tier for name, tier in summary["tiers"].items()}
    for place, metrics in latencies.items():
        for metric in METRICS:
            found = _flawed_figures(metrics, metric, ("mean", *PERCENTILES))
            if found:
                return f"{place}.{found}"
    for name, tier in summary["tiers"].items():
        found = _flawed_figures(tier, "requests", _FIGURES["requests"])
        if found or not isinstance(tier.get("sla"), dict) or "sla_attainment" not in tier:
            return f"tiers.{name}.{found or 'sla'}"
        for bound, entry in tier["sla"].items():
            if not isinstance(entry, dict) or not entry.keys() >= _VERDICT:
                return f"tiers.{name}.sla.{bound}"
    return None


def _flawed_figures(data: Any, section: str, names: Iterable[str]) -> str | None:
    figures = data.get(section) if isinstance(data, dict) else None
    for name in names:
        key = f"{section}.{name}"
        if not isinstance(figures, dict) or name not in figures:
            return key
        value = figures[name]
        if value is None and section not in _NEVER_NULL and key not in _NEVER_NULL:
            continue
        if not isinstance(value, (int, float)):
            return key
    return None


def _at(data: Any, key: str) -> Any:
    for part in key.split("."):
        data = data.get(part) if isinstance(data, dict) else None
    return data
