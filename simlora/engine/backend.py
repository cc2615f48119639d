"""Which implementation of the kernels a device runs."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch


def backend_for(device: torch.device) -> ModuleType:
    """`kernels.triton_ops` on a GPU, `kernels.torch_ops` elsewhere: the same functions.

    Triton's interpreter could stand in for a GPU, but it takes milliseconds a program; it is for
    tests of the kernels alone.
    """
    name = "triton_ops" if device.type == "cuda" else "torch_ops"
    return importlib.import_module(f"kernels.{name}")
