"""What happens to adapters over their life: retraining, a new base model, deletion."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simlora.cost.training import Estimate
from simlora.scenario.cost import Deletion, Migration, Training
from simlora.scenario.deployment import Deployment

_DAY_S, _DAY_H = 86_400.0, 24.0


@dataclass(frozen=True, slots=True)
class Moved:
    """A migration to another base model. `hours` it takes on the GPUs given, `jobs` at once, in
    `waves`; `gpus_needed` to keep to the window (0: it is too short for even one training). While
    it lasts both bases are served: `serving_usd` is what the second fleet costs, as large as the
    first, for as long as the training; the peaks are of the weights on all GPUs, and of all
    adapters of both sets."""

    adapters: int
    gpu_hours: float
    training_usd: float
    jobs: int
    waves: int
    hours: float
    fits: bool
    gpus_needed: int
    serving_usd: float
    peak_weight_bytes: int
    peak_adapter_bytes: int


def migrate(
    deployment: Deployment,
    asked: Migration,
    training: Training | None,
    each: Estimate | None,
    new_weight_bytes: int,
    new_adapter_bytes: int,
    fleet_usd_per_hour: float,
    usd_per_gpu_hour: float,
) -> Moved:
    """What it takes to move all adapters. `each` is one training on the new base; the byte counts
    are those of its weights on one replica and of one of its adapters. Where nothing is said of
    `training`, `asked` says its hours, and `usd_per_gpu_hour` is what they cost on one GPU."""
    if each is not None:
        usd_per_gpu_hour = each.usd / each.gpu_hours
    gpu_hours_each = asked.gpu_hours_each
    if gpu_hours_each is None:
        assert each is not None  # the check of scenarios sees to it
        gpu_hours_each = each.gpu_hours
    usd_each = usd_per_gpu_hour * gpu_hours_each
    job_gpus = 1 if training is None else training.gpus
    jobs = asked.gpus // job_gpus
    count = asked.adapters or len(deployment.adapters)
    hours_each = gpu_hours_each / job_gpus
    waves = -(-count // jobs)
    window_h = asked.window_days * _DAY_H
    waves_in_time = math.floor(window_h / hours_each + 1e-9)
    # No number of GPUs makes one training shorter.
    needed = -(-count // waves_in_time) * job_gpus if waves_in_time else 0
    replicas = sum(pool.replicas for pool in deployment.scenario.fleet)
    old_weights = sum(
        pool.replicas * model.weight_bytes(weights)
        for pool, model, weights in zip(
            deployment.scenario.fleet, deployment.models, deployment.weights, strict=True
        )
    )
    hours = waves * hours_each
    return Moved(
        adapters=count,
        gpu_hours=count * gpu_hours_each,
        training_usd=count * usd_each,
        jobs=jobs,
        waves=waves,
        hours=hours,
        fits=hours <= window_h,
        gpus_needed=needed,
        serving_usd=hours * fleet_usd_per_hour,
        peak_weight_bytes=old_weights + replicas * new_weight_bytes,
        peak_adapter_bytes=sum(adapter.nbytes for adapter in deployment.adapters)
        + count * new_adapter_bytes,
    )


@dataclass(frozen=True, slots=True)
class Retraining:
    """All adapters trained again each `every_days`: so many a day, on `slots` trainings at once if
    they are spread evenly; `days` if all come due at once and no slot is added."""

    adapters: int
    every_days: float
    per_day: float
    slots: int
    days: float


def retraining(adapters: int, training: Training, each: Estimate) -> Retraining | None:
    """The load on the training pool; None if nothing is trained again."""
    if training.retrain_every_days is None or not adapters:
        return None
    per_day = adapters / training.retrain_every_days
    slots = max(1, math.ceil(per_day * each.hours / _DAY_H - 1e-9))
    waves = -(-adapters // slots)
    return Retraining(
        adapters, training.retrain_every_days, per_day, slots, waves * each.hours / _DAY_H
    )


@dataclass(frozen=True, slots=True)
class Gone:
    """Days from a request to delete an adapter until it is gone from each place, None where nobody
    has said; `in_time`: from all of them when it is due (None: not known)."""

    days: dict[str, float | None]
    due_days: float
    in_time: bool | None

    @property
    def last_days(self) -> float | None:
        """Until it is gone from everywhere."""
        known = [days for days in self.days.values() if days is not None]
        return max(known) if len(known) == len(self.days) else None


def deletion(asked: Deletion, longest_request_s: float) -> Gone:
    """When a deleted adapter is gone from where. What is in a batch is finished first, for at most
    `longest_request_s`; backups and files under audit begin their time when the store forgets."""
    told, stored = asked.propagation_s, asked.store_s
    memory = None if told is None else (told + longest_request_s) / _DAY_S
    store = None if stored is None else stored / _DAY_S
    days = {
        "GPU memory": memory,
        "host memory and disks": memory,
        "object storage": store,
        "backups": _later(store, asked.backup_retention_days),
        "files under audit": _later(store, asked.audit_retention_days),
    }
    known = [value for value in days.values() if value is not None]
    in_time: bool | None = all(value <= asked.due_days for value in known)
    if in_time and len(known) < len(days):
        in_time = None
    return Gone(days, asked.due_days, in_time)


def _later(store_days: float | None, retention_days: float) -> float | None:
    """A retention of nothing: there is no such copy."""
    if not retention_days:
        return 0.0
    return retention_days + (store_days or 0.0)
