"""What the device can do: the lines of the roofline, measured and not taken from a datasheet."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module

import torch

from kernels.benchmark.timing import Clock

EMPTY_LAUNCHES = 100


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Bandwidth of a large copy, bytes read and bytes written both counted; FLOP/s of a large
    matrix product; microseconds that an empty kernel takes among others in a CUDA graph."""

    name: str
    dtype: str
    bytes_per_s: float
    flops_per_s: float
    launch_us: float
    torch: str
    triton: str

    def bytes_us(self, count: int) -> float:
        """Time that so many bytes take at the bandwidth of a copy."""
        return count / self.bytes_per_s * 1e6


def empty_launches(device: torch.device, count: int) -> Callable[[], None]:
    """A run of `count` launches that do nothing."""
    nothing = torch.zeros(1, device=device)
    launch: Callable[[], object] = nothing.zero_
    if device.type == "cuda":
        from kernels.benchmark.empty_kernel import launch_empty

        launch = partial(launch_empty, nothing)

    def run() -> None:
        for _ in range(count):
            launch()

    return run


def measure_device(device: torch.device, dtype: torch.dtype, clock: Clock) -> DeviceFacts:
    """Takes a second on a GPU."""
    on_gpu = device.type == "cuda"
    size = 2**30 if on_gpu else 2**24  # bytes
    width = 8192 if on_gpu else 256
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))
    a, b, c = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(3))
    copy_us = clock(lambda: target.copy_(source)).median_us
    matmul_us = clock(lambda: torch.mm(a, b, out=c)).median_us
    launches_us = clock(empty_launches(device, EMPTY_LAUNCHES)).median_us
    return DeviceFacts(
        name=torch.cuda.get_device_name(device) if on_gpu else platform.machine() + " CPU",
        dtype=str(dtype).removeprefix("torch."),
        bytes_per_s=2 * size / copy_us * 1e6,
        flops_per_s=2 * width**3 / matmul_us * 1e6,
        launch_us=launches_us / EMPTY_LAUNCHES,
        torch=torch.__version__,
        triton=import_module("triton").__version__ if on_gpu else "not used",
    )
