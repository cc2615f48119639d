"""Names and units of what is predicted, and of what a profile's range is given in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from simlora.report.style import BLUE, GREEN, RED
from simlora.report.words import duration, number, share

# Feature of a profile's range: what it is called, and what it is.
FEATURES: Mapping[str, tuple[str, str]] = {
    "slots": ("adapter slots", "Slots of GPU memory that adapters may take."),
    "max_rank": ("largest rank", "The rank that slots or adapters are made for."),
    "distinct_adapters": ("distinct adapters", "Adapters in one batch."),
    "running": ("running requests", "Requests in one batch."),
    "tokens": ("tokens of a step", "Prefill and decode tokens in one step."),
    "attended_tokens": ("attended tokens", "Tokens of context that a step's attention reads."),
    "passed_over": ("requests passed over", "Waiting requests whose adapters have no slot."),
    "preset": ("engine preset", "The scheduler and memory layout of the server."),
}
# What was measured: its name, and the unit that it is told in. Seconds are scaled to what reads
# well.
METRICS: Mapping[str, tuple[str, str]] = {
    "step_s": ("Step time", "s"),
    "total_tokens_per_s": ("Throughput", "tokens/s"),
    "tpot_mean_s": ("TPOT, mean", "s"),
    "ttft_mean_s": ("TTFT, mean", "s"),
    "itl_mean_s": ("ITL, mean", "s"),
    "e2e_mean_s": ("Request latency, mean", "s"),
    "latency_mean_s": ("Request latency, mean", "s"),
    "first_token_mean_s": ("TTFT, mean", "s"),
    "requests_per_s": ("Completed requests", "requests/s"),
    "output_tokens_per_s": ("Output throughput", "tokens/s"),
    "input_tokens_per_s": ("Prompt throughput", "tokens/s"),
    "ttft_median_s": ("TTFT, median", "s"),
    "running_mean": ("Running requests, mean", "requests"),
    "load_s": ("Adapter load time", "s"),
}

_GOOD, _FAIR = 0.05, 0.15  # relative errors, that the colours tell apart


def figure(metric: str, value: float) -> str:
    """A value of a metric with its unit."""
    unit = METRICS[metric][1]
    return duration(value) if unit == "s" else f"{number(value)} {unit}"


def feature(name: str) -> str:
    """What a feature of a profile's range is called."""
    return FEATURES.get(name, (name.replace("_", " "), ""))[0]


def span(bounds: tuple[float, float]) -> str:
    """A range in words."""
    return f"{bounds[0]:,.0f} to {bounds[1]:,.0f}"


# What a sentence of the command line says of its options, and what the page calls them.
_OPTIONS = {
    "; rename columns with --map COLUMN=THEIRS": "; say below what its columns are called",
    "give some figures with --fix NAME=SECONDS": "take those of a step without adapters from a "
    "profile",
    "name its scenario with --scenario FILE": "upload its scenario, and no other",
    "--profile ": "profile ",
    "--where": "Only rows with",
    "--map": "Columns",
}


def plain(sentence: str) -> str:
    """A sentence of the command line as the page would say it."""
    for theirs, ours in _OPTIONS.items():
        sentence = sentence.replace(theirs, ours)
    return re.sub(r" \(--[\w-]+\)", "", sentence)


def grade(error: float) -> str:
    """How large a relative error is, in words."""
    if abs(error) <= _GOOD:
        return f"within {share(_GOOD)}"
    return f"within {share(_FAIR)}" if abs(error) <= _FAIR else "further off"


def graded(found: Iterable[str]) -> tuple[list[str], list[str]]:
    """The grades that occur, the best first, with their colours."""
    order = {grade(_GOOD): GREEN, grade(_FAIR): BLUE, grade(1.0): RED}
    kept = [name for name in order if name in set(found)]
    return kept, [order[name] for name in kept]
