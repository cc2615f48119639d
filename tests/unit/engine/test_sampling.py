"""Tokens are drawn with the probabilities asked for, and with the same numbers in any company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from simlora.engine import sampling as sampling_module
from simlora.engine.sampling import Sampling, sample, uniforms
from simlora.errors import UserError

LOGITS = torch.tensor([2.0, -1.0, 3.0, 0.5, 2.5, -4.0, 1.0])
DRAWS = 20_000


def expected(how: Sampling) -> Tensor:
    """The probabilities by their definition, token by token in float64."""
    weight = [float(np.exp(each / how.temperature)) for each in LOGITS.double().tolist()]
    likeliest = sorted(range(len(weight)), key=lambda token: -weight[token])
    if how.top_k:
        likeliest = likeliest[: how.top_k]
    total = sum(weight[token] for token in likeliest)
    kept, mass = [], 0.0
    for token in likeliest:
        if mass >= how.top_p:
            break
        kept.append(token)
        mass += weight[token] / total
    total = sum(weight[token] for token in kept)
    return torch.tensor([weight[token] / total if token in kept else 0.0 for token in range(7)])


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that lie evenly instead of at random, so that frequencies are probabilities."""

    def even(seeds: list[int], places: list[int]) -> np.ndarray:
        return ((np.array(places) + 0.5) / DRAWS).astype(np.float32)

    monkeypatch.setattr(sampling_module, "uniforms", even)


@pytest.mark.usefixtures("grid")
@pytest.mark.parametrize(
    "how",
    [
        Sampling(),
        Sampling(temperature=0.5),
        Sampling(temperature=3.0),
        Sampling(top_p=0.8),
        Sampling(top_p=0.3),
        Sampling(top_p=1e-9),
        Sampling(top_k=3),
        Sampling(top_k=1),
        Sampling(top_k=100),
        Sampling(temperature=2.0, top_k=4, top_p=0.7),
        Sampling(temperature=0.3, top_k=6, top_p=0.99),
    ],
    ids=str,
)
def test_tokens_come_as_often_as_they_are_likely(how: Sampling) -> None:
    tokens = sample(LOGITS.repeat(DRAWS, 1), [(how, place) for place in range(DRAWS)])
    often = tokens.bincount(minlength=7) / DRAWS
    wanted = expected(how)
    assert ((often > 0) <= (wanted > 0)).all()
    torch.testing.assert_close(often, wanted, rtol=0, atol=2 / DRAWS)


def test_dropping_the_least_likely_keeps_what_was_asked_for() -> None:
    """The definition above, once by hand: 3, 2.5 and 2 have 0.45, 0.27 and 0.17."""
    for top_p, kept in ((0.4, "2"), (0.5, "24"), (0.7, "24"), (0.75, "024")):
        assert (expected(Sampling(top_p=top_p)) > 0).tolist() == [c in kept for c in "0123456"]


def test_numbers_are_even_and_unrelated() -> None:
    numbers = uniforms([7] * 100_000, range(100_000))  # type: ignore[arg-type]
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.bincount((numbers * 20).astype(int), minlength=20)
    # 5,000 each, give or take 69: five times that.
    assert np.abs(counts - 5000).max() < 350
    # Of other seeds, neighbours and far ones, and of the next places.
    for other in (
        uniforms([8] * 100_000, range(100_000)),  # type: ignore[arg-type]
        uniforms([7 + 2**63] * 100_000, range(100_000)),  # type: ignore[arg-type]
        uniforms([7] * 100_000, range(1, 100_001)),  # type: ignore[arg-type]
        uniforms(list(range(100_000)), [3] * 100_000),
    ):
        assert abs(np.corrcoef(numbers, other)[0, 1]) < 0.02
    assert (uniforms([2**64 - 1, 0], [0, 2**31 - 1]) < 1).all()


def test_the_numbers_of_a_seed_are_those_of_splitmix64() -> None:
    """By the published algorithm in whole numbers, which do not overflow."""

    def mixed(bits: int) -> int:
        bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        bits = (bits ^ bits >> 27) * 0x94D049BB133111EB % 2**64
        return bits ^ bits >> 31

    # Outputs 1 and 2 of the reference implementation with seed 0.
    golden = 0x9E3779B97F4A7C15
    assert mixed(golden) == 0xE220A8397B1DCDAF
    assert mixed(2 * golden % 2**64) == 0x6E789E6AA1B965F4
    for seed in (0, 5, 2**64 - 1):
        start = mixed((seed + golden) % 2**64)
        drawn = [mixed((start + (place + 1) * golden) % 2**64) >> 40 for place in range(5)]
        assert uniforms([seed] * 5, range(5)).tolist() == [each / 2**24 for each in drawn]  # type: ignore[arg-type]


def test_what_is_drawn_does_not_depend_on_the_other_rows() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 2, (60, 300))).float()
    hows = [
        None,
        Sampling(temperature=0.0, seed=3),
        Sampling(seed=1),
        Sampling(seed=1, top_p=0.9),
        Sampling(seed=2, temperature=0.7, top_k=20),
    ]
    rows = [(hows[int(rng.integers(5))], int(rng.integers(100))) for _ in range(60)]
    together = sample(logits, rows)
    one_by_one = [sample(logits[[row]], [rows[row]]).item() for row in range(60)]
    assert together.tolist() == one_by_one
    assert len(set(one_by_one)) > 20


def test_temperature_zero_and_nothing_asked_take_the_likeliest() -> None:
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    likeliest = logits.argmax(dim=1)
    assert torch.equal(sample(logits, [(None, 3)] * 8), likeliest)
    assert torch.equal(sample(logits, [(Sampling(temperature=0.0), 3)] * 8), likeliest)
    for how in (
        Sampling(temperature=1e-45, seed=4),
        Sampling(temperature=1e-300, top_p=0.5),
        Sampling(top_p=1e-300),
    ):
        assert torch.equal(sample(logits, [(how, place) for place in range(8)]), likeliest)
    alike = torch.zeros(30, 9)
    assert not sample(alike, [(Sampling(temperature=0.0), place) for place in range(30)]).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_narrow_types_are_drawn_from_in_float32(dtype: torch.dtype) -> None:
    logits = torch.randn(40, 90, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows = [(Sampling(seed=row, top_p=0.9 if row % 2 else 1.0), row) for row in range(40)]
    assert torch.equal(sample(logits, rows), sample(logits.float(), rows))


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("how", [Sampling(), Sampling(top_k=3), Sampling(top_p=0.999)])
def test_the_outermost_numbers_give_tokens_that_may_be_drawn(
    monkeypatch: pytest.MonkeyPatch, number: float, how: Sampling
) -> None:
    """None of the tokens at either end of the vocabulary, which are impossible. Some of the sums of
    so many probabilities are rounded to more than 1."""
    rows = 500
    logits = torch.full((rows, 1000), -torch.inf)
    logits[:, 300:700] = torch.randn(rows, 400, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(
        sampling_module, "uniforms", lambda *_: np.array([number] * rows, dtype=np.float32)
    )
    tokens = sample(logits, [(how, 0)] * rows)
    assert tokens.min() >= 300
    assert tokens.max() < 700


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": -0.1}, "temperature must be at least 0, not -0.1"),
        ({"temperature": float("nan")}, "temperature must be at least 0, not nan"),
        ({"temperature": float("inf")}, "temperature must be at least 0, not inf"),
        ({"top_p": 0.0}, "top_p must be more than 0 and at most 1, not 0.0"),
        ({"top_p": 1.1}, "at most 1, not 1.1"),
        ({"top_k": -1}, "top_k must be at least 0, not -1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"seed": 2**64}, "less than 2\\*\\*64"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(fields: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Sampling(**fields)
