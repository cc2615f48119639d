"""Length presets: what public data say about real prompts and answers, as quantile tables.

* `azure-conv`, `azure-code`: quantiles of the Azure LLM inference trace 2023 (see the data file).
* `sharegpt`: reconstructed, for the data set itself is not at hand. Benchmarks of vLLM, and the
  multi-LoRA measurements of the Barcelona Supercomputing Center (arXiv 2508.08343), sample ShareGPT
  V3 so that the prompt has 4 to 1,024 tokens and prompt and answer at most 2,048. Both sides are
  lognormals truncated to 4 .. 1,024. Of those measurements come
  - the means of completed requests: 223.3 prompt tokens, and 192.3 answer tokens (Llama-3.1-8B
    193.9, Qwen2.5-7B 190.7, for some answers end before the reference's);
  - the width of answers, sigma 1.0: where adapters wait for a slot, the wait grows with the longest
    answer of those that hold one, and only about this width gives the waits that were measured;
  - the correlation, -0.33 between the logarithms' ranks: a running request holds 352 tokens of KV
    cache on average whatever the load, which is E[answer * (prompt + answer / 2)] / E[answer] and
    would be 405 if both were independent.
  The width of prompts (sigma 1.4, hence a median of 138) is an assumption.

Prompts and answers of `sharegpt` are drawn together where a scenario asks for both, but for
sessions; else they are drawn independently, and their correlation in the source is not kept.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import NormalDist

import numpy as np

from simlora.workload.blocks import Floats

_TABLE_CELLS = 1024


@dataclass(frozen=True, slots=True)
class TruncatedLognormal:
    """Lognormal cut off (not clipped) at `low` and `high`; `mu`, `sigma` are those of the log."""

    mu: float
    sigma: float
    low: int
    high: int

    def quantiles(self) -> tuple[Floats, Floats]:
        """Return evenly spaced probabilities and the quantiles there."""
        logs = NormalDist(self.mu, self.sigma)
        first, last = logs.cdf(math.log(self.low)), logs.cdf(math.log(self.high))
        probabilities = np.linspace(0.0, 1.0, _TABLE_CELLS + 1)
        inner = first + (last - first) * probabilities[1:-1]
        tokens = [math.exp(logs.inv_cdf(p)) for p in inner.tolist()]
        return probabilities, np.array([self.low, *tokens, self.high], dtype=np.float64)


# mu is fitted to the means above.
SHAREGPT = {
    "prompt_tokens": TruncatedLognormal(mu=5.0853, sigma=1.4, low=4, high=1024),
    "output_tokens": TruncatedLognormal(mu=4.9017, sigma=1.0, low=4, high=1024),
}
# Of the normal scores of prompt and answer.
SHAREGPT_CORRELATION = -0.33


@cache
def preset_quantiles(preset: str, side: str) -> tuple[Floats, Floats]:
    """Return (probabilities, tokens) of a preset's `prompt_tokens` or `output_tokens`."""
    if preset == "sharegpt":
        return SHAREGPT[side].quantiles()
    text = (files("simlora.workload") / "data" / "azure_llm_2023.json").read_text("utf-8")
    tables = json.loads(text)
    return np.array(tables["probabilities"]), np.array(tables[preset][side], dtype=np.float64)
