"""Length presets: what public data say about real prompts and answers, as quantile tables.

* `azure-conv`, `azure-code`: quantiles of the Azure LLM inference trace 2023 (see the data file).
* `sharegpt`: reconstructed, for the data set itself is not at hand. Benchmarks of vLLM, and the
  multi-LoRA measurements of the Barcelona Supercomputing Center (arXiv 2508.08343), sample ShareGPT
  V3 so that the prompt has 4 to 1,024 tokens and prompt and answer at most 2,048; the latter report
  means of about 222.9 prompt and 199.9 answer tokens. The preset is a lognormal truncated to 4 ..
  1,024 (prompt) and 1 .. 1,024 (answer, so that the sum holds) with these means; the widths (sigma
  1.4 and 1.2, hence medians of 138 and 126) are an assumption.

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


# mu is fitted to the means above.
SHAREGPT = {
    "prompt_tokens": TruncatedLognormal(mu=5.0828, sigma=1.4, low=4, high=1024),
    "output_tokens": TruncatedLognormal(mu=4.9061, sigma=1.2, low=1, high=1024),
}


@cache
def preset_quantiles(preset: str, side: str) -> tuple[Floats, Floats]:
    """Return (probabilities, tokens) of a preset's `prompt_tokens` or `output_tokens`."""
    if preset == "sharegpt":
        return SHAREGPT[side].quantiles()
    text = (files("simlora.workload") / "data" / "azure_llm_2023.json").read_text("utf-8")
    tables = json.loads(text)
    return np.array(tables["probabilities"]), np.array(tables[preset][side], dtype=np.float64)
