"""Where the kernels run in tests: on a GPU if there is one, else in Triton's interpreter."""

from __future__ import annotations

import os
import shutil

# Triton reads this when a kernel is defined, so it has to be set before any is imported.
if shutil.which("nvidia-smi") is None:
    os.environ["TRITON_INTERPRET"] = "1"

import pytest
import torch

torch.set_num_threads(1)  # two threads can stall on small machines


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
