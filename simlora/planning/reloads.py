"""How long each adapter takes to come back to GPU memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simlora.scenario.deployment import Deployment
from simlora.serving.loading import DISK, NETWORK, PCIE
from simlora.timing import make_timing
from simlora.timing.load_path import load_path

GB = 1e9


def reload_seconds(deployment: Deployment, pool_index: int = 0) -> NDArray[np.float64]:
    """By adapter, the seconds from where it lies when a run begins into the GPU memory of a replica
    of fleet entry `pool_index`, over idle links.

    Raises UserError for a timing profile that does not exist.
    """
    path = load_path(deployment, pool_index, make_timing(deployment, pool_index))
    config = deployment.scenario.adapters
    nbytes = np.array([adapter.nbytes for adapter in deployment.adapters], dtype=np.int64)
    warm = disk = np.zeros(len(nbytes), dtype=bool)
    if config.initial_tier == "warm":
        most = deployment.scenario.engine.max_cpu_loras
        warm = _first_that_fit(nbytes, config.warm.capacity_gb, most)
    if config.initial_tier != "store":
        below = nbytes if config.nvme.inclusive else np.where(warm, 0, nbytes)
        disk = _first_that_fit(below, config.nvme.capacity_gb, config.nvme.max_adapters)
    seconds = []
    for size, in_warm, on_disk in zip(nbytes.tolist(), warm, disk, strict=True):
        copy_s = path.alone_s(PCIE, size)
        fetch_s = 0.0 if in_warm else path.alone_s(DISK if on_disk else NETWORK, size)
        seconds.append(copy_s + fetch_s)
    return np.array(seconds)


def _first_that_fit(
    nbytes: NDArray[np.int64], capacity_gb: float, most: int | None
) -> NDArray[np.bool_]:
    """Adapters fill a tier in their order until one does not fit; those of no bytes take none of
    its room."""
    fits = np.cumsum(nbytes) <= capacity_gb * GB
    return fits if most is None else fits & (np.cumsum(nbytes > 0) <= most)
