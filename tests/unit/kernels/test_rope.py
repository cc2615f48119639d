"""The rotary table, against angles worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from kernels.rope import RopeScaling, rotary_frequencies, rotary_table

# config.json of Llama 3.1: head_dim 128, rope_theta 500,000, 131,072 positions.
LLAMA_3_1 = RopeScaling("llama3", 8.0, 1.0, 4.0, 8192)


def test_pair_i_of_position_p_turns_by_p_theta_to_the_minus_2i_over_head_dim() -> None:
    table = rotary_table(8, 4, 10_000.0, None, "cpu")
    assert table.shape == (4, 8)
    assert table.dtype == torch.float32
    angles = [[p * f for f in (1.0, 0.1, 0.01, 0.001)] for p in range(4)]
    expected = [[math.cos(a) for a in row] + [math.sin(a) for a in row] for row in angles]
    torch.testing.assert_close(table, torch.tensor(expected), rtol=0, atol=1e-7)


def test_far_positions_are_as_exact_as_near_ones() -> None:
    table = rotary_table(128, 131_072, 500_000.0, None, "cpu")
    angle = 131_071 * 500_000.0 ** (-2 / 128)
    assert table[-1, 1].item() == pytest.approx(math.cos(angle), abs=1e-7)
    assert table[-1, 65].item() == pytest.approx(math.sin(angle), abs=1e-7)


def test_linear_scaling_puts_position_p_where_p_over_factor_was() -> None:
    plain = rotary_table(16, 10, 10_000.0, None, "cpu")
    scaled = rotary_table(16, 40, 10_000.0, RopeScaling("linear", 4.0), "cpu")
    torch.testing.assert_close(scaled[::4], plain)


def test_llama3_keeps_fast_pairs_stretches_slow_ones_and_blends_between() -> None:
    plain = rotary_frequencies(128, 500_000.0, None)
    scaled = rotary_frequencies(128, 500_000.0, LLAMA_3_1)
    wavelength = 2 * math.pi / plain
    fast, slow = wavelength < 8192 / 4, wavelength > 8192
    # 2 pi 500000^(i / 64) < 2048 up to i = 28 and > 8192 from i = 35 on.
    assert fast.sum() == 29
    assert slow.sum() == 29
    torch.testing.assert_close(scaled[fast], plain[fast])
    torch.testing.assert_close(scaled[slow], plain[slow] / 8)
    # In between, by the formula of Llama's own code, for one pair: wavelength 2 pi 500000^(1/2).
    smooth = (8192 / (2 * math.pi * 500_000**0.5) - 1) / (4 - 1)
    blended = ((1 - smooth) / 8 + smooth) * 500_000**-0.5
    assert scaled[32].item() == pytest.approx(blended, rel=1e-12)
    assert (scaled[1:] < scaled[:-1]).all()


def test_a_factor_of_one_changes_nothing() -> None:
    plain = rotary_frequencies(64, 10_000.0, None)
    same = rotary_frequencies(64, 10_000.0, RopeScaling("llama3", 1.0, 1.0, 4.0, 1024))
    torch.testing.assert_close(same, plain)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("yarn", 2.0), "rope_type must be 'linear' or 'llama3', not 'yarn'"),
        (("linear", 0.0), "factor must be positive, not 0.0"),
        (("llama3", 8.0, 4.0, 4.0), r"low_freq_factor \(4.0\) must be less than"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        RopeScaling(*arguments)
