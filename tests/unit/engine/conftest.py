"""The engine on a GPU, with the Triton kernels and CUDA graphs, or on one core of a CPU.

Needs pytest, hypothesis, numpy, torch, safetensors and, on a GPU, triton. `test_bench.py` measures
models of the catalog (`simlora.scenario`), and checkpoints and adapters are read with its words for
what is wrong; these need pydantic and PyYAML as well, and are left out where they are missing.
`TRITON_INTERPRET` is not for here, unlike in the kernels' tests: without a GPU the engine runs
`kernels.torch_ops`.
"""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from simlora.engine import engine as engine_module
from simlora.engine.graphs import graph_sizes
from tests.unit.engine.serving import ADAPTERS, ReplayedStep, Service

torch.set_num_threads(1)  # two threads can stall on small machines
# float32 that is float32, or the tokens would not be those of the float64 reference.
torch.backends.cuda.matmul.allow_tf32 = False

NEED_SCENARIO = ["test_adapters.py", "test_bench.py", "test_checkpoint.py"]
collect_ignore = [] if find_spec("pydantic") and find_spec("yaml") else NEED_SCENARIO


@pytest.fixture
def padding(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose decode steps are padded and replayed as on a GPU."""
    monkeypatch.setattr(engine_module, "CapturedStep", ReplayedStep)
    monkeypatch.setattr(ReplayedStep, "made", 0)
    service = Service(adapters=ADAPTERS)
    service.engine._graph_sizes = graph_sizes(service.engine.limits.max_num_seqs)
    return service
