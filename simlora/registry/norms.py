"""How strongly adapters change a base model, and which of a fleet stand out.

The measure of a module is the Frobenius norm of its update, scale · B A, whatever the rank is that
it is made of. Norms of one layer's module are compared over all adapters of a base model as
logarithms, since they differ by factors: with their number of training steps, learning rate and
data. An adapter stands out by its distance from their median, in units of 1.4826 times the median
absolute deviation (MAD), the standard deviation if they are normally distributed (Iglewicz and
Hoaglin, How to Detect and Handle Outliers, ASQC 1993). Median and MAD, unlike mean and standard
deviation, are not moved by the very adapters that are looked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simlora.engine.adapter_config import tensor_name
from simlora.registry.adapter_files import AdapterFiles

# Iglewicz and Hoaglin's 3.5 is for one value of each. Here an adapter has hundreds of modules, of
# which the worst counts, and the MAD of few adapters is uncertain by itself. With 6, at most 2 of
# 100 audits of 10 to 100 log-normal adapters flag any (simulated with 4 and with 224 modules).
Z_LIMIT = 6.0
# Half of the fleet may be alike to a percent, being retrained by one recipe; what differs by less
# than exp(6 × 0.1), a factor of 1.8, stands out of no fleet.
LEAST_DEVIATION = 0.1
LEAST_FLEET = 10  # with fewer, the MAD says nothing

Norms = Mapping[tuple[int, str], float]  # by layer and module


@dataclass(frozen=True, slots=True)
class Outlier:
    """A module of one adapter whose norm is far from the fleet's."""

    adapter: int  # its place in the fleet
    layer: int
    module: str
    norm: float
    median: float
    z: float
    modules: int  # how many modules of the adapter stand out, of which this one does most


def update_norms(adapter: AdapterFiles) -> dict[tuple[int, str], float]:
    """The Frobenius norm of scale · B A of each module, from Gram matrices of the rank's size:
    ‖B A‖² = tr(BᵀB · AAᵀ). Raises UserError as `AdapterFiles.values` does."""
    values = adapter.values()
    norms = {}
    for at, name in adapter.targets.items():
        a = values[tensor_name(name, "A")].astype(np.float64)
        b = values[tensor_name(name, "B")].astype(np.float64)
        square = float(np.sum((b.T @ b) * (a @ a.T)))
        norms[at] = adapter.config.scale(name) * math.sqrt(max(square, 0.0))
    return norms


def outliers(fleet: Sequence[Norms], limit: float = Z_LIMIT) -> list[Outlier]:
    """The adapters of one base model that stand out, each with its worst module.

    Medians are each layer's own; deviations are pooled over the layers of a module, which makes
    them less uncertain. Modules that fewer than LEAST_FLEET adapters change are passed over, and so
    are those that are zero.
    """
    places: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for number, norms in enumerate(fleet):
        for (layer, module), norm in norms.items():
            if norm > 0:
                places[module][layer].append(number)
    found: list[Outlier] = []
    for module, layers in places.items():
        judged = {at: each for at, each in layers.items() if len(each) >= LEAST_FLEET}
        logs = {
            layer: np.log([fleet[number][layer, module] for number in numbers])
            for layer, numbers in judged.items()
        }
        deviation = _deviation([each - np.median(each) for each in logs.values()])
        for layer, numbers in judged.items():
            median = float(np.median(logs[layer]))
            for number, log in zip(numbers, logs[layer], strict=True):
                z = (float(log) - median) / deviation
                if abs(z) > limit:
                    norm = fleet[number][layer, module]
                    found.append(Outlier(number, layer, module, norm, math.exp(median), z, 1))
    return _worst(found)


def _deviation(apart: Sequence[NDArray[np.float64]]) -> float:
    if not apart:
        return LEAST_DEVIATION
    return max(1.4826 * float(np.median(np.abs(np.concatenate(apart)))), LEAST_DEVIATION)


def _worst(found: Sequence[Outlier]) -> list[Outlier]:
    by_adapter: dict[int, list[Outlier]] = defaultdict(list)
    for each in found:
        by_adapter[each.adapter].append(each)
    worst = []
    for _, modules in sorted(by_adapter.items()):
        most = max(modules, key=lambda each: abs(each.z))
        worst.append(replace(most, modules=len(modules)))
    return worst
