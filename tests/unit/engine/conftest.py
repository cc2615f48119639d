"""The engine on a GPU, with the Triton kernels and CUDA graphs, or on one core of a CPU.

Needs pytest, hypothesis, numpy, torch, safetensors and, on a GPU, triton; `test_bench.py` measures
models of the catalog (`simlora.scenario`), which need pydantic and PyYAML as well, and is left out
where they are missing. `TRITON_INTERPRET` is not for here, unlike in the kernels' tests: without a
GPU the engine runs `kernels.torch_ops`.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

torch.set_num_threads(1)  # two threads can stall on small machines
# float32 that is float32, or the tokens would not be those of the float64 reference.
torch.backends.cuda.matmul.allow_tf32 = False

collect_ignore = [] if find_spec("pydantic") and find_spec("yaml") else ["test_bench.py"]
