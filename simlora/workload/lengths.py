"""How many tokens: samplers of prompt and output lengths.

A sampler draws from one random stream, in the order of requests, so that the n-th request of two
scenarios with equal length distributions has equal lengths whatever else differs.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np

from simlora.scenario.traffic import Empirical, Fixed, Length, Lognormal, Uniform
from simlora.workload.blocks import Floats, Ints, Tokens
from simlora.workload.presets import SHAREGPT_CORRELATION, preset_quantiles

_LAST_SCORE = 4.5  # beyond it lies one draw in 300,000
_MEAN_DRAWS = 20_000

Side = Literal["prompt_tokens", "output_tokens"]


class LengthSampler(Protocol):
    """Draws lengths in tokens, each at least 1."""

    def sample(self, random: np.random.Generator, count: int) -> Tokens: ...


def length_sampler(length: Length, side: Side) -> LengthSampler:
    """Return the sampler that `workload.prompt_tokens` or `workload.output_tokens` asks for.

    Raises:
        UserError: an `empirical` trace that cannot be read.
    """
    match length:
        case Fixed(fixed=tokens):
            return FixedLength(tokens)
        case Uniform(uniform=bounds):
            return UniformLength(bounds.min, bounds.max)
        case Lognormal(lognormal=shape):
            return LognormalLength(shape.mean, shape.sigma, shape.min, shape.max)
        case Empirical(empirical=path):
            from simlora.workload.trace import token_histogram  # needs pyarrow

            return HistogramLength.of_counts(token_histogram(Path(path), side))
        case str():
            return QuantileLength(*preset_quantiles(length, side))


def mean_tokens(length: Length, side: Side) -> float:
    """Return the mean length, to a percent or so: that of a sample.

    Raises:
        UserError: an `empirical` trace that cannot be read.
    """
    return float(length_sampler(length, side).sample(np.random.default_rng(0), _MEAN_DRAWS).mean())


class RequestLengths:
    """Draws prompt and output lengths of whole requests; if `paired`, together where the source
    says how."""

    def __init__(self, prompt: Length, output: Length, paired: bool = True) -> None:
        self._prompt = length_sampler(prompt, "prompt_tokens")
        self._output = length_sampler(output, "output_tokens")
        self._together = paired and prompt == output == "sharegpt"

    def sample(
        self, prompts: np.random.Generator, outputs: np.random.Generator, count: int
    ) -> tuple[Tokens, Tokens]:
        """Return `count` prompt and output lengths, each side from its own random stream."""
        if self._together:
            return _sharegpt(prompts, outputs, count)
        return self._prompt.sample(prompts, count), self._output.sample(outputs, count)


def _sharegpt(
    prompts: np.random.Generator, outputs: np.random.Generator, count: int
) -> tuple[Tokens, Tokens]:
    """Prompts as QuantileLength draws them, outputs by normal scores correlated with theirs."""
    probabilities, prompt_tokens = preset_quantiles("sharegpt", "prompt_tokens")
    _, output_tokens = preset_quantiles("sharegpt", "output_tokens")
    scores = _normal_scores(len(probabilities))
    uniform = prompts.random(count)
    correlation = SHAREGPT_CORRELATION
    score = correlation * np.interp(uniform, probabilities, scores)
    score += math.sqrt(1 - correlation**2) * outputs.standard_normal(count)
    prompt = np.interp(uniform, probabilities, prompt_tokens)
    output = np.interp(score, scores, output_tokens)
    return np.rint(prompt).astype(np.int32), np.rint(output).astype(np.int32)


@cache
def _normal_scores(count: int) -> Floats:
    """Normal quantiles of `count` evenly spaced probabilities; the ends are as far out as any."""
    inner = [NormalDist().inv_cdf(i / (count - 1)) for i in range(1, count - 1)]
    return np.array([-_LAST_SCORE, *inner, _LAST_SCORE])


class FixedLength:
    """Always `tokens`."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def sample(self, random: np.random.Generator, count: int) -> Tokens:
        return np.full(count, self.tokens, dtype=np.int32)


class UniformLength:
    """Integers from `low` to `high`, both included."""

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.span = high - low + 1

    def sample(self, random: np.random.Generator, count: int) -> Tokens:
        return (self.low + np.floor(random.random(count) * self.span)).astype(np.int32)


class LognormalLength:
    """Lognormal of mean `mean` before it is rounded and clipped to `low` .. `high`."""

    def __init__(self, mean: float, sigma: float, low: int, high: int) -> None:
        self.mu = math.log(mean) - sigma**2 / 2
        self.sigma = sigma
        self.low = low
        self.high = high

    def sample(self, random: np.random.Generator, count: int) -> Tokens:
        logs = np.minimum(self.mu + self.sigma * random.standard_normal(count), 700.0)
        return np.clip(np.rint(np.exp(logs)), self.low, self.high).astype(np.int32)


class QuantileLength:
    """Inverse transform of a table: `tokens[i]` is the quantile at `probabilities[i]`."""

    def __init__(self, probabilities: Floats, tokens: Floats) -> None:
        self.probabilities = probabilities
        self.tokens = tokens

    def sample(self, random: np.random.Generator, count: int) -> Tokens:
        drawn = np.interp(random.random(count), self.probabilities, self.tokens)
        return np.rint(drawn).astype(np.int32)


class HistogramLength:
    """`tokens[i]` with probability proportional to `weights[i]`."""

    def __init__(self, tokens: Ints, weights: Floats) -> None:
        self.tokens = tokens.astype(np.int32)
        cumulated = np.cumsum(weights)
        self.cumulated = cumulated / cumulated[-1]

    @classmethod
    def of_counts(cls, counts: Ints) -> HistogramLength:
        """Return the sampler for `counts[t]` observations of length t."""
        tokens = np.flatnonzero(counts)
        return cls(tokens, counts[tokens].astype(np.float64))

    def sample(self, random: np.random.Generator, count: int) -> Tokens:
        index = np.searchsorted(self.cumulated, random.random(count), side="right")
        drawn: Tokens = self.tokens[np.minimum(index, len(self.tokens) - 1)]
        return drawn
