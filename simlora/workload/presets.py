"""Length presets: what public data say about real prompts and answers, as quantile tables.

* `azure-conv`, `azure-code`: quantiles of the Azure LLM inference trace 2023 (see the data file).
* `sharegpt`: reconstructed, for the data set itself is not at hand. Benchmarks of vLLM, and the
  multi-LoRA measurements of the Barcelona Supercomputing Center (arXiv 2508.08343), sample ShareGPT
  V3 so that the prompt has 4 to 1,024 tokens and prompt and answer at most 2,048. Of the latter,
  requests completed by Llama-3.1-8B and Qwen2.5-7B have means of 223.3 prompt and 193.9 and 190.7
  answer tokens (some answers end before the reference's), and a running request holds 352 tokens of
  KV cache on average, whatever the load. The preset is a lognormal truncated to 4 .. 1,024, for
  prompts with a mean of 223.3 and a width that is an assumption (sigma 1.4, hence a median of 138).
  For answers the mean is 192.3, and the width such that the tokens held, E[answer * (prompt +
  answer / 2)] / E[answer], are 352. In the source long prompts rather go with short answers; here,
  where both are independent, the width of answers (sigma 0.55) stands for that too.

Prompt and answer are drawn independently: their correlation in the sources is not kept.
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


# mu is fitted to the means above, the answers' sigma to the tokens held.
SHAREGPT = {
    "prompt_tokens": TruncatedLognormal(mu=5.0853, sigma=1.4, low=4, high=1024),
    "output_tokens": TruncatedLognormal(mu=5.1117, sigma=0.546, low=4, high=1024),
}


@cache
def preset_quantiles(preset: str, side: str) -> tuple[Floats, Floats]:
    """Return (probabilities, tokens) of a preset's `prompt_tokens` or `output_tokens`."""
    if preset == "sharegpt":
        return SHAREGPT[side].quantiles()
    text = (files("simlora.workload") / "data" / "azure_llm_2023.json").read_text("utf-8")
    tables = json.loads(text)
    return np.array(tables["probabilities"]), np.array(tables[preset][side], dtype=np.float64)
