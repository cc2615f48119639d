"""Load times and KV capacities: the two small fits beside the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from simlora.calibration.design import adapter_parameters
from simlora.calibration.tables import Floats, Table
from simlora.errors import UserError
from simlora.scenario.catalog import GpuSpec, ModelSpec
from simlora.scenario.schema import Targets
from simlora.timing.parameters import LoadParameters

ELEMENT_BYTES = 2  # adapters and KV cache are bf16


@dataclass(frozen=True, slots=True)
class LoadsFit:
    """`note` says why the bandwidth is not a measured one, if it is not."""

    load: LoadParameters
    errors: Floats
    note: str = ""


@dataclass(frozen=True, slots=True)
class KvFit:
    """KV capacity in tokens: `base_tokens`, less `slot_tokens` a slot and `slot_rank_tokens` a slot
    and rank. `slot_rank_bytes` is the latter in bytes, `expected_bytes` what a rank of an adapter
    takes by the model's shapes."""

    base_tokens: float
    slot_tokens: float
    slot_rank_tokens: float
    slot_rank_bytes: float | None
    expected_bytes: int | None
    errors: Floats


def fit_loads(
    tables: Sequence[Table], model: ModelSpec | None, targets: Targets, host_bytes_per_s: float
) -> LoadsFit:
    """Fit a latency and a bandwidth to load times, over the adapters' own bytes: those are what a
    simulated load is charged by, however large the slot is that they are copied to.

    Where the times tell no bandwidth that the link could have, it is `host_bytes_per_s`, the
    datasheet's of the host link, and the rest is latency.
    """
    nbytes = np.concatenate([load_bytes(table, model, targets) for table in tables])
    seconds = np.concatenate([table.columns["load_s"] for table in tables])
    try:
        return fit_load_times(nbytes, seconds, host_bytes_per_s)
    except UserError as error:
        where = ", ".join(str(table.path) for table in tables)
        raise UserError(f"{where}: {error}") from None


def fit_load_times(nbytes: Floats, seconds: Floats, host_bytes_per_s: float) -> LoadsFit:
    """As `fit_loads`, for loads of `nbytes` each."""
    from scipy.optimize import nnls

    columns = np.column_stack([np.ones_like(nbytes), nbytes / nbytes.mean()])
    (latency_s, mean_s), _ = nnls(columns / seconds[:, None], np.ones_like(seconds))
    note = ""
    per_byte_s = mean_s / nbytes.mean()
    if len(np.unique(nbytes)) == 1:
        note = "all loads have one size"
    elif per_byte_s < 1 / host_bytes_per_s:
        note = "larger adapters hardly loaded slower"
    if note:
        per_byte_s = 1 / host_bytes_per_s
        weights = 1 / seconds**2  # as in the relative least squares above
        rest_s = seconds - nbytes * per_byte_s
        latency_s = max(0.0, float(weights @ rest_s / weights.sum()))
    try:
        load = LoadParameters(latency_s=float(latency_s), bytes_per_s=float(1 / per_byte_s))
    except ValidationError:
        raise UserError(
            f"by these loads an adapter is copied at {1 / per_byte_s:.3g} bytes a second "
            f"after {latency_s:.3g} s, which no host link does: are bytes or load_s in other units?"
        ) from None
    return LoadsFit(load, (latency_s + nbytes * per_byte_s) / seconds - 1, note)


def load_bytes(table: Table, model: ModelSpec | None, targets: Targets) -> Floats:
    """Bytes of each load of a table, given or by the adapter's rank. Raises UserError for ranks
    without a model to tell their bytes."""
    if "bytes" in table.columns:
        return table.columns["bytes"]
    if model is None:
        raise UserError(f"{table.path}: column rank needs --model, to tell an adapter's bytes")
    ranks = table.columns["rank"]
    parameters = adapter_parameters(ranks, model, targets)
    return np.array([float(ELEMENT_BYTES * parameters[rank]) for rank in ranks])


def fit_kv(tables: Sequence[Table], model: ModelSpec | None, targets: Targets) -> KvFit:
    """Fit what slots take from the KV cache. Raises UserError if the capacities cannot tell it."""
    tokens = np.concatenate([table.columns["kv_tokens"] for table in tables])
    slots = np.concatenate([table.columns["slots"] for table in tables])
    ranks = np.concatenate([table.columns["rank"] for table in tables])
    columns = np.column_stack([np.ones_like(slots), -slots, -slots * ranks])
    lengths = np.linalg.norm(columns, axis=0)
    if not lengths.all() or np.linalg.matrix_rank(columns / lengths, tol=1e-9) < 3:
        where = ", ".join(str(table.path) for table in tables)
        raise UserError(
            f"{where}: what a slot and a rank take from the KV cache can be told from at least "
            "three capacities, with different slots and different ranks"
        )
    base, slot, slot_rank = np.linalg.lstsq(columns / lengths, tokens, rcond=None)[0] / lengths
    predicted = columns @ np.array([base, slot, slot_rank])
    return KvFit(
        float(base),
        float(slot),
        float(slot_rank),
        float(slot_rank) * model.kv_bytes_per_token if model else None,
        ELEMENT_BYTES * model.lora_parameters(1, targets) if model else None,
        predicted / tokens - 1,
    )


def host_bytes_per_s(gpu: GpuSpec, gpus: int) -> float:
    """The host links of all GPUs of a replica together, by the datasheet."""
    return gpu.pcie_gb_per_s * 1e9 * gpus
