"""How a sequence's next token is drawn from its logits.

A draw is one number in [0, 1), looked up in the tokens' cumulated probabilities. The number depends
on the request's seed and on the token's place in the sequence and on nothing else: not on the other
sequences of the step, and not on what was drawn before, so that a preempted request goes on as it
would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simlora.errors import UserError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn: logits are divided by `temperature`, all but the `top_k` likeliest are
    dropped, and of those all but the fewest that have `top_p` of their probability.

    Temperature 0 takes the likeliest token, `top_k` 0 and `top_p` 1 drop nothing. Of equally likely
    tokens the lower ones count as likelier. Raises UserError for what is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"temperature must be at least 0, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be more than 0 and at most 1, not {self.top_p}")
        if self.top_k < 0:
            raise UserError(f"top_k must be at least 0, not {self.top_k}")
        if not 0 <= self.seed < 2**64:
            raise UserError(f"seed must be at least 0 and less than 2**64, not {self.seed}")

    @property
    def draws(self) -> bool:
        """Whether there is anything to draw."""
        return self.temperature > 0

    @property
    def drops(self) -> bool:
        """Whether some tokens are not to be drawn."""
        return self.top_k > 0 or self.top_p < 1


def sample(logits: Tensor, rows: Sequence[tuple[Sampling | None, int]]) -> Tensor:
    """The next token of each row of `logits` [sequences, vocabulary], [sequences] int64.

    `rows` are how the row's token is chosen, None for the likeliest, and its place in the sequence.
    """
    tokens = logits.argmax(dim=1)
    drawing = [(at, how, place) for at, (how, place) in enumerate(rows) if how and how.draws]
    # Rows that drop nothing need no sort, and are drawn in the order of the vocabulary whatever
    # the other rows need.
    for drop in (False, True):
        chosen = [each for each in drawing if each[1].drops == drop]
        if not chosen:
            continue
        at = torch.tensor([each[0] for each in chosen], device=logits.device)
        numbers = uniforms([how.seed for _, how, _ in chosen], [place for _, _, place in chosen])
        columns = [
            [how.temperature for _, how, _ in chosen],
            [how.top_p for _, how, _ in chosen],
            [how.top_k or logits.shape[1] for _, how, _ in chosen],
            numbers.tolist(),
        ]
        temperature, top_p, top_k, number = torch.tensor(columns, device=logits.device)[:, :, None]
        probability = _softmax(logits[at], temperature)
        if drop:
            order, probability = _dropped(probability, top_p, top_k)
            tokens[at] = order.gather(1, _drawn(probability, number)).squeeze(1)
        else:
            tokens[at] = _drawn(probability, number).squeeze(1)
    return tokens


def uniforms(seeds: Sequence[int], places: Sequence[int]) -> NDArray[np.float32]:
    """A number in [0, 1) for each pair of a seed and a place, in steps of 2**-24.

    That of place p is number p of the generator SplitMix64 (Steele, Lea and Flood, 2014,
    https://doi.org/10.1145/2660193.2660195), started at the mixed seed: seeds are often neighbours.
    """
    start = _mixed(np.array(seeds, dtype=np.uint64) + _GOLDEN)
    drawn = _mixed(start + (np.array(places, dtype=np.uint64) + np.uint64(1)) * _GOLDEN)
    return (drawn >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's mixing of 64 bits."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _softmax(logits: Tensor, temperature: Tensor) -> Tensor:
    logits = logits.float()
    # The largest becomes 0 first, or a low temperature would make it infinite; so would the lowest
    # ones, which are no float32, make it no number.
    lower = logits - logits.amax(dim=1, keepdim=True)
    return (lower / temperature.clamp(min=1e-20)).softmax(dim=1)


def _dropped(probability: Tensor, top_p: Tensor, top_k: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens from the likeliest on, and their probabilities, 0 where they are dropped."""
    probability, order = probability.sort(dim=1, descending=True, stable=True)
    place = torch.arange(probability.shape[1], device=probability.device)
    probability = probability.where(place < top_k, 0)
    likelier = probability.cumsum(dim=1) - probability
    kept = likelier < top_p * probability.sum(dim=1, keepdim=True)
    return order, probability.where(kept, 0)


def _drawn(probability: Tensor, number: Tensor) -> Tensor:
    """Where in its row each number falls, [rows, 1]: never on what has no probability, and on the
    first if nothing has any, as when `top_p` is too small for a float32."""
    # A GPU adds up in an order of its own, so that sums may shrink by a rounding from one place to
    # the next. The largest of those that count is more than any number of it.
    upto = probability.cumsum(dim=1).where(probability > 0, 0)
    total = upto.amax(dim=1, keepdim=True)
    return (upto > number * total).int().argmax(dim=1, keepdim=True)
