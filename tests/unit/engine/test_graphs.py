"""Sizes of captured steps, and, where there is a GPU, what a captured step does."""

from __future__ import annotations

import pytest
import torch

from simlora.engine.graphs import CapturedStep, graph_sizes

MOST = [*range(1, 131), 250, 256, 1000]


def test_sizes_ascend_to_the_largest_batch() -> None:
    for most in MOST:
        sizes = graph_sizes(most)
        assert sizes == sorted(set(sizes))
        assert sizes[0] == 1
        assert sizes[-1] == most


def test_every_batch_has_a_size_with_little_padding() -> None:
    for most in MOST:
        sizes = graph_sizes(most)
        for batch in range(1, most + 1):
            padded = min(size for size in sizes if size >= batch)
            assert padded - batch < min(batch, 16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_captured_step_sees_what_lies_in_its_inputs_when_launched() -> None:
    device = torch.device("cuda")
    x = torch.ones(4, device=device)
    step = CapturedStep(lambda: x * 2, device)
    assert step.launch().tolist() == [2.0] * 4
    x.fill_(5.0)
    result = step.launch()
    assert result.tolist() == [10.0] * 4
    assert step.launch().data_ptr() == result.data_ptr()
