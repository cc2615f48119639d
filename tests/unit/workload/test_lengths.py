from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from simlora.scenario.traffic import Length
from simlora.workload.lengths import RequestLengths, Side, length_sampler

COUNT = 200_000


def draw(length: Any, side: Side = "prompt_tokens", seed: int = 1) -> np.ndarray:
    parsed = TypeAdapter[Any](Length).validate_python(length)
    return length_sampler(parsed, side).sample(np.random.default_rng(seed), COUNT)


def test_fixed_is_fixed() -> None:
    assert set(draw({"fixed": 7}).tolist()) == {7}


def test_uniform_covers_both_ends_evenly() -> None:
    counts = np.bincount(draw({"uniform": {"min": 3, "max": 12}}))
    assert counts[:3].sum() == 0
    assert len(counts) == 13
    assert counts[3:] == pytest.approx(COUNT / 10, rel=0.05)


def test_lognormal_has_its_mean_and_sigma() -> None:
    tokens = draw({"lognormal": {"mean": 2000, "sigma": 0.8}})
    assert tokens.mean() == pytest.approx(2000, rel=0.02)
    assert np.log(tokens).std() == pytest.approx(0.8, rel=0.02)


def test_lognormal_is_clipped_even_if_it_overflows() -> None:
    tokens = draw({"lognormal": {"mean": 1e308, "sigma": 37, "min": 4, "max": 4096}})
    assert tokens.min() == 4
    assert tokens.max() == 4096


# Means: of what the BSC's requests from ShareGPT had, and of the Azure traces' own columns.
@pytest.mark.parametrize(
    ("preset", "side", "mean", "low", "high"),
    [
        ("sharegpt", "prompt_tokens", 223.3, 4, 1024),
        ("sharegpt", "output_tokens", 192.3, 4, 1024),
        ("azure-conv", "prompt_tokens", 1154.70, 2, 14050),
        ("azure-conv", "output_tokens", 211.13, 7, 1000),
        ("azure-code", "prompt_tokens", 2047.85, 3, 7437),
        ("azure-code", "output_tokens", 27.88, 6, 1899),
    ],
)
def test_presets_have_their_sources_means_and_range(
    preset: str, side: Side, mean: float, low: int, high: int
) -> None:
    tokens = draw(preset, side)
    assert tokens.mean() == pytest.approx(mean, rel=0.02)
    assert tokens.min() >= low
    assert tokens.max() <= high


def test_sharegpt_requests_hold_as_much_kv_cache_as_measured() -> None:
    lengths = RequestLengths("sharegpt", "sharegpt")
    streams = np.random.default_rng(1), np.random.default_rng(2)
    prompt, output = (tokens.astype(float) for tokens in lengths.sample(*streams, COUNT))
    assert (prompt == draw("sharegpt", "prompt_tokens", seed=1)).all()
    assert prompt.mean() == pytest.approx(223.3, rel=0.01)
    assert output.mean() == pytest.approx(192.3, rel=0.01)
    assert (prompt + output).max() <= 2048
    # Averaged over decode steps: a request holds its prompt and, on average, half of its answer.
    held = (output * (prompt + output / 2)).mean() / output.mean()
    assert held == pytest.approx(352, rel=0.01)


def test_empirical_lengths_have_the_columns_distribution(tmp_path: Path) -> None:
    path = tmp_path / "lengths.parquet"
    table = pa.table({"prompt_tokens": [5, 5, 5, 80], "output_tokens": [0, 9, 9, 9]})
    pq.write_table(table, path)
    prompts = draw({"empirical": str(path)}, "prompt_tokens")
    assert set(prompts.tolist()) == {5, 80}
    assert np.mean(prompts == 5) == pytest.approx(0.75, abs=0.01)
    assert set(draw({"empirical": str(path)}, "output_tokens").tolist()) == {1, 9}


@pytest.mark.parametrize(
    "length",
    ["sharegpt", {"uniform": {"min": 1, "max": 9}}, {"lognormal": {"mean": 9, "sigma": 1}}],
)
def test_lengths_do_not_depend_on_how_many_are_drawn_at_a_time(length: Any) -> None:
    sampler = length_sampler(TypeAdapter[Any](Length).validate_python(length), "prompt_tokens")
    at_once = sampler.sample(np.random.default_rng(3), 1000)
    random = np.random.default_rng(3)
    in_parts = [sampler.sample(random, count) for count in (1, 499, 500)]
    assert np.array_equal(at_once, np.concatenate(in_parts))
