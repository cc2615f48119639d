"""The engine on a CPU, on one core."""

from __future__ import annotations

import torch

torch.set_num_threads(1)  # two threads can stall on small machines
