"""The files of an adapter: whether config, tensors and base model fit each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simlora.engine.adapter_config import (
    CONFIG,
    MODULES,
    WEIGHTS,
    AdapterConfig,
    check_names,
    read_adapter_config,
    tensor_name,
)
from simlora.engine.pickles import refuse_pickles, refuse_types
from simlora.errors import UserError
from simlora.registry.tensors import Header, read_headers, read_values
from simlora.scenario.catalog.specs import ModelSpec

FILES = (CONFIG, WEIGHTS)
_LAYER = re.compile(r"\.layers\.(\d{1,9})\.")
_MOST_LAYERS = 1_000


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """What an adapter's config says, with its tensors known to be as it says."""

    folder: Path
    config: AdapterConfig
    targets: Mapping[tuple[int, str], str]  # PEFT's names of its modules, by layer and module

    @property
    def rank(self) -> int:
        """The highest rank of its modules, which is the one it is served with."""
        return max(self.config.rank(name) for name in self.targets.values())

    @property
    def modules(self) -> list[str]:
        """The linear modules that it changes in some layer, in the order of a layer."""
        return [each for each in MODULES if any(module == each for _, module in self.targets)]

    def values(self) -> dict[str, NDArray[np.float32]]:
        """Its matrices by name, as in the file. Raises UserError if one holds NaN or infinity."""
        path = self.folder / WEIGHTS
        values = read_values(path)
        for name, matrix in values.items():
            if not np.isfinite(matrix).all():
                raise UserError(f"{path}: {name} holds NaN or infinity")
        return values


def read_adapter(folder: Path, base: ModelSpec | None) -> AdapterFiles:
    """An adapter whose config is plain LoRA and whose file has the matrices that the config tells
    of, of their ranks and, with `base`, of that model's widths. Values are not looked at.

    Without `base` the model has as many layers as the highest one in the file, and widths only have
    to be the same in all of them. Raises UserError, of one sentence that names file and field or
    tensor.
    """
    config = read_adapter_config(folder)
    path = folder / WEIGHTS
    if not path.exists():
        refuse_pickles(folder, WEIGHTS)
    headers = read_headers(path)
    layers = _layers(path, headers) if base is None else base.num_hidden_layers
    try:
        targets = config.targets(layers)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}") from None
    check_names(path, targets.values(), headers)
    widths = {} if base is None else dict(base.linear_shapes)
    for (_, module), name in targets.items():
        pair = (tensor_name(name, "A"), tensor_name(name, "B"))
        for tensor in pair:
            refuse_types(path, tensor, headers[tensor].dtype)
            if len(headers[tensor].shape) != 2:
                raise UserError(f"{path}: {tensor} is no matrix")
        if module not in widths:
            widths[module] = headers[pair[0]].shape[-1], headers[pair[1]].shape[0]
        inner, outer = widths[module]
        rank = config.rank(name)
        for tensor, shape in zip(pair, ((rank, inner), (outer, rank)), strict=True):
            if headers[tensor].shape != shape:
                has = list(headers[tensor].shape)
                raise UserError(f"{path}: {tensor} has shape {has}, not {list(shape)}")
    return AdapterFiles(folder, config, targets)


def _layers(path: Path, headers: Mapping[str, Header]) -> int:
    numbers = [int(found[1]) for name in headers if (found := _LAYER.search(name))]
    if not numbers:
        raise UserError(f"{path}: has no tensor of a layer")
    layers = max(numbers) + 1
    if layers > _MOST_LAYERS:
        raise UserError(f"{path}: has a tensor of layer {layers - 1}, more than any model")
    return layers
