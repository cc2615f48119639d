"""A comparison in words and marks."""

from __future__ import annotations

from collections.abc import Callable

from simlora.planning.compare import Comparison, Line
from simlora.planning.metrics import Metric, Unit
from simlora.planning.paired import Verdict
from simlora.report.words import duration, number, share, usd

_MOST_NAMES = 6  # of metrics in a sentence

MARKS = {
    Verdict.BETTER: "✓",
    Verdict.WORSE: "✗",
    Verdict.UNCLEAR: "~",
    Verdict.SAME: "=",
    Verdict.ONE_REPLICATION: "?",
    Verdict.NOT_MEASURED: "—",
}


_WORDS: dict[Unit, Callable[[float | None], str]] = {
    "count": number,
    "per_s": number,
    "s": duration,
    "share": share,
    "usd": usd,
}


def figure(line: Line) -> str:
    """A mean over replications in its unit."""
    return _WORDS[line.metric.unit](line.mean)


def change_unit(metric: Metric) -> str:
    """In what `change` tells a difference: percent of the baseline's mean, or for a share in
    percentage points."""
    return "pt" if metric.unit == "share" else "%"


def scale_of(line: Line) -> float | None:
    """What turns a difference into percent of the baseline's mean (None: that is 0), or a share's
    into percentage points."""
    if line.metric.unit == "share":
        return 100.0
    return 100.0 / abs(line.base) if line.base else None


def change(line: Line) -> str:
    """The mean difference to the baseline and half its interval: `−12 ±3`. Nothing where there is
    none to tell."""
    difference = line.difference
    if difference is None or difference.mean is None or line.verdict is Verdict.SAME:
        return ""
    scale = scale_of(line)
    if scale is None:
        return ""
    mean = scale * difference.mean
    if abs(mean) >= 1000:
        return f"×{number(1 + mean / 100)}"
    if difference.high is None:
        return signed(mean, 0 if abs(mean) >= 10 else 1)
    margin = scale * (difference.high - difference.mean)
    digits = 0 if margin >= 1 or abs(mean) >= 100 else 1
    return f"{signed(mean, digits)} ±{margin:.{digits}f}"


def same_everywhere(compared: Comparison) -> list[Metric]:
    """Metrics that tell no variants apart: each is the same in every replication."""
    return [
        metric
        for metric in compared.metrics
        if all(line.verdict is Verdict.SAME for line in compared.of_metric(metric)[1:])
    ]


def verdicts_of(compared: Comparison, variant: str) -> dict[Verdict, list[str]]:
    """The names of the metrics by verdict, without those that are the same everywhere."""
    hidden = same_everywhere(compared)
    names: dict[Verdict, list[str]] = {verdict: [] for verdict in Verdict}
    for line in compared.lines:
        if line.variant == variant and line.verdict and line.metric not in hidden:
            names[line.verdict].append(line.metric.name)
    return {verdict: of_one for verdict, of_one in names.items() if of_one}


def summary_words(compared: Comparison) -> list[str]:
    """A sentence for each variant: in what it is better and worse than the baseline."""
    return [_against(compared, variant.name) for variant in compared.variants[1:]]


def _against(compared: Comparison, variant: str) -> str:
    found = verdicts_of(compared, variant)
    varied = ", ".join(compared.variants[0].settings)
    pair = f"{variant}{f' ({varied})' if varied else ''} against {compared.baseline}"
    told = [
        f"{verdict.value} in {_listed(found[verdict])}"
        for verdict in (Verdict.BETTER, Verdict.WORSE)
        if verdict in found
    ]
    if told:
        return f"{pair}: {'; '.join(told)}."
    if Verdict.ONE_REPLICATION in found:
        return f"{pair}: one replication cannot tell."
    return f"{pair}: no difference shown."


def _listed(names: list[str]) -> str:
    """All names, or the first ones and how many there are more."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def basis(compared: Comparison) -> str:
    """What the verdicts rest on, in a few sentences."""
    count, others = len(compared.seeds), len(compared.variants) - 1
    if compared.other_traffic:
        traffic = f"The same seeds, but other requests in {', '.join(compared.other_traffic)}."
    else:
        traffic = "Every variant served the same requests."
    if count == 1:
        return (
            f"{traffic} One replication tells no difference (?): seed {compared.seeds[0]} may "
            "favour a variant. Use --replications 5 or more."
        )
    holm = f", corrected for {others} variants per metric (Holm)" if others > 1 else ""
    return (
        f"✓ better, ✗ worse, ~ no difference shown, = the same in every replication. Means of "
        f"{count} replications (seeds {compared.seeds[0]} to {compared.seeds[-1]}); diff: mean "
        f"difference to {compared.baseline} in percent, or percentage points (pt), ± its 95 % "
        f"t-interval. Verdicts at 5 %{holm}. {traffic}"
    )


def signed(value: float, digits: int) -> str:
    """A difference with its sign, even if it is above 0; a plain 0 if it rounds to that."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if any(digit in text for digit in "123456789") else text[1:]
