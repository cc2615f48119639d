"""What each tenant used of each pool: the columns of `tenants.parquet` that bills are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.results.arrays import Floats, Ints
from simlora.results.columns import RequestColumns
from simlora.results.steplog import StepLog
from simlora.serving.request import SOURCE_HOT, SOURCE_NONE

if TYPE_CHECKING:
    from simlora.scenario.catalog import ModelSpec
    from simlora.scenario.deployment import Deployment

# Columns, with what they hold of a tenant and a pool. GB are 1e9 bytes, TFLOP 1e12 operations.
QUANTITIES = {
    "prompt_tokens": "prompt tokens processed",
    "output_tokens": "output tokens processed",
    "gpu_s": "GPU-seconds: its share of the time of batches, on all GPUs of the replica, and "
    "the time in which batches stood still for loads of its adapters",
    "load_gpu_s": "the latter alone",
    "input_tflop": "operations of prompt tokens that were not found in the prefix cache",
    "output_tflop": "operations of output tokens",
    "kv_gb_s": "KV cache in GPU memory, over the time it was held",
    "adapter_gb_s": "adapters in GPU memory, from the end of a load to the last use",
    "cold_starts": "requests that did not find their adapter in GPU memory",
}
BY_POOL = "_by_pool"  # added to a column's name: a list, in the order of the fleet


class TenantUsage:
    """Adds up what requests used, by pool and tenant. A request counts for the pool that it ended
    on, but GPU-seconds and adapters for where they were spent.

    Operations: two a weight of the layers' linear modules and of the adapter for every token
    computed, two a weight of the head for every output token, and attention's
    `4 * layers * q_dim` for every token that a token attends. KV is taken to grow evenly over a
    phase: from the cached part to the whole prompt in prefill, by the answer in decode.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._tenants = len(deployment.tenants)
        fleet = deployment.scenario.fleet
        self._pool_of = np.repeat(np.arange(len(fleet)), [pool.replicas for pool in fleet])
        self._gpus = [pool.tensor_parallel for pool in fleet]
        self._adapter_tenant = np.array([a.tenant for a in deployment.adapters], dtype=np.int64)
        self._adapter_gb = np.array([a.nbytes / 1e9 for a in deployment.adapters])
        # The last is that of index -1, the base model.
        self._adapter_flop = np.array([*(2.0 * a.parameters for a in deployment.adapters), 0.0])
        models = deployment.models
        self._layer_flop = np.array([_layer_flop(model) for model in models])
        self._head_flop = np.array([2.0 * m.vocab_size * m.hidden_size for m in models])
        self._attended_flop = np.array([4.0 * m.num_hidden_layers * m.q_dim for m in models])
        self._kv_gb = np.array([model.kv_bytes_per_token / 1e9 for model in models])
        self.sums: dict[str, Floats] = {
            name: np.zeros((len(fleet), self._tenants)) for name in QUANTITIES
        }

    def add(self, columns: RequestColumns) -> None:
        """Add all rows that ever were on a replica."""
        routed = columns.replica >= 0
        pool = self._pool_of[columns.replica[routed]]
        cells = pool * self._tenants + columns.tenant[routed]
        completed = columns.completed[routed]
        prompted = completed | ~np.isnan(columns.first_token_s[routed])
        prompt = columns.prompt_tokens[routed].astype(np.float64)
        cached = columns.cached_tokens[routed].astype(np.float64)
        emitted = np.where(
            completed, columns.output_tokens[routed], columns.emitted_tokens[routed]
        ).astype(np.float64)
        later = np.maximum(emitted - 1, 0)  # tokens with a step of their own
        adapter = np.where(columns.base_fallback[routed], -1, columns.adapter[routed])
        token_flop = self._layer_flop[pool] + self._adapter_flop[adapter]
        attended_flop = self._attended_flop[pool]
        attended_in = (prompt * (prompt + 1) - cached * (cached + 1)) / 2
        attended_out = later * prompt + later * (later + 1) / 2
        source = columns.adapter_source[routed]
        prefill_kv_s = columns.prefill_s[routed] * (prompt + cached) / 2
        decode_kv_s = columns.decode_s[routed] * (prompt + later / 2)

        self._sum(cells, "prompt_tokens", prompt * prompted)
        self._sum(cells, "output_tokens", emitted)
        input_flop = (prompt - cached) * token_flop + attended_in * attended_flop
        self._sum(cells, "input_tflop", input_flop * prompted / 1e12)
        output_flop = later * token_flop + attended_out * attended_flop
        self._sum(cells, "output_tflop", (output_flop + emitted * self._head_flop[pool]) / 1e12)
        self._sum(cells, "kv_gb_s", (prefill_kv_s + decode_kv_s) * self._kv_gb[pool])
        self._sum(cells, "cold_starts", (source != SOURCE_NONE) & (source != SOURCE_HOT))

    def _sum(self, cells: Ints, quantity: str, values: Any) -> None:
        sums = self.sums[quantity]
        sums += np.bincount(cells, values, sums.size).reshape(sums.shape)

    def close(self, logs: list[StepLog]) -> None:
        """The run is over: add what the step logs of the replicas, in their order, took down."""
        for log, pool in zip(logs, self._pool_of, strict=False):
            batch_time = log.batch_time
            batch_time.close()
            for tenant, seconds in batch_time.busy_s.items():
                self.sums["gpu_s"][pool, tenant] += seconds * self._gpus[pool]
            for adapter, seconds in batch_time.load_s.items():
                cell = pool, self._adapter_tenant[adapter]
                for name in ("gpu_s", "load_gpu_s"):
                    self.sums[name][cell] += seconds * self._gpus[pool]
            for adapter, seconds in batch_time.stays_s.items():
                cell = pool, self._adapter_tenant[adapter]
                self.sums["adapter_gb_s"][cell] += seconds * self._adapter_gb[adapter]

    def columns(self) -> dict[str, Floats | Ints]:
        """By name: sums over all pools, by tenant; tokens are columns of the table already."""
        totals: dict[str, Floats | Ints] = {}
        for name, sums in self.sums.items():
            total = sums.sum(axis=0)
            if name == "cold_starts":
                totals[name] = total.astype(np.int64)
            elif not name.endswith("_tokens"):
                totals[name] = total
        return totals

    def by_pool(self) -> dict[str, Floats]:
        """By name: rows are tenants, columns pools. Empty of a fleet of one pool."""
        if len(self._gpus) == 1:
            return {}
        return {f"{name}{BY_POOL}": sums.T for name, sums in self.sums.items()}


def _layer_flop(model: ModelSpec) -> float:
    """Operations of a token in the linear modules of all layers."""
    return 2.0 * model.num_hidden_layers * model.layer_linear_parameters
