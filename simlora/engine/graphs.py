"""Decode steps as CUDA graphs: hundreds of launches replayed as one.

A decode step of an 8B model with adapters is some six hundred launches of a few microseconds each,
more than a host can issue in the time that the GPU takes. A graph holds a step of a fixed number of
sequences; a smaller batch is padded to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UP = 2  # runs before a capture: kernels are compiled, libraries choose their algorithms


def graph_sizes(max_num_seqs: int) -> list[int]:
    """Numbers of sequences to capture steps of: fine where padding would cost much."""
    small = [size for size in (1, 2, 4) if size < max_num_seqs]
    middle = list(range(8, min(max_num_seqs, 64), 8))
    large = list(range(64, max_num_seqs, 16)) if max_num_seqs > 64 else []
    return [*small, *middle, *large, max_num_seqs]


class CapturedStep:
    """A step that is captured when made. `launch` gives it to the device and returns its result,
    in the same memory each time.

    `memory` is what `torch.cuda.graph_pool_handle()` gives: graphs that never run at the same time
    share it, so that one's result is lost when another is launched. None: its own.
    """

    def __init__(
        self, step: Callable[[], Tensor], device: torch.device, memory: Any = None
    ) -> None:
        # Warming up on another stream, as capturing asks for.
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=memory):
            self._result = step()

    def launch(self) -> Tensor:
        self._graph.replay()
        return self._result
