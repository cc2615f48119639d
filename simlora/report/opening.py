"""A run in three sentences: does it keep its promises, what does it cost, and what limits it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from simlora.report.measured import from_outside
from simlora.report.words import counted, duration, share, usd
from simlora.results.summary import MONTH_H


def opening(summary: dict[str, Any], limits: Sequence[str]) -> str:
    """The sentences, for somebody who reads nothing else. `limits` are the paragraphs on what
    limits the run."""
    told = (promises_sentence(summary), cost_sentence(summary), limit_sentence(limits))
    return " ".join(filter(None, told))


def promises_sentence(summary: dict[str, Any]) -> str:
    """Whether tiers got what they are promised; where none is, how requests fared."""
    whose = "This server" if from_outside(summary) else "This fleet"
    kept, broken, unsure = by_verdict(summary)
    if not (kept or broken or unsure):
        return _fared(summary)
    told = []
    if broken:
        told.append(f"{whose} breaks its promise to {_listed(broken)}")
        told += [f"keeps that to {_listed(kept)}"] if kept else []
    elif kept and not unsure:
        return f"{whose} keeps {_what(kept, summary)} to {_listed(kept)}."
    elif kept:
        told.append(f"{whose} keeps its promise to {_listed(kept)}")
    if unsure:
        subject = "this run is too short or too small to tell"
        told.append(f"{subject} whether it keeps that to {_listed(unsure)}")
    text = " and ".join((", ".join(told[:-1]), told[-1])) if len(told) > 1 else told[0]
    return text[0].upper() + text[1:] + "."


def _what(kept: Sequence[str], summary: dict[str, Any]) -> str:
    one = len(kept) == 1 and len(summary["tiers"][kept[0]]["sla"]) == 1
    return "its promise" if one else "every promise"


def by_verdict(summary: dict[str, Any]) -> tuple[list[str], list[str], list[str]]:
    """Names of the tiers that ask for something and are promised something: those that got it,
    those that did not, and those of which a part is not known and nothing broken."""
    kept: list[str] = []
    broken: list[str] = []
    unsure: list[str] = []
    for name, tier in summary["tiers"].items():
        verdicts = [entry["met"] for entry in tier["sla"].values()]
        if not verdicts or not tier["requests"]["offered"]:
            continue
        of = broken if False in verdicts else unsure if None in verdicts else kept
        of.append(name)
    return kept, broken, unsure


def _fared(summary: dict[str, Any]) -> str:
    requests = summary["requests"]
    if not requests["offered"]:
        return "No request was asked, so there is nothing to keep."
    done = share(requests["completed"] / requests["offered"])
    ttft_s = summary["latency"]["ttft_s"]["p99"]
    first = f", 99 of 100 of them with a first token within {duration(ttft_s)}" if ttft_s else ""
    return (
        f"No tier is promised anything; {done} of {counted(requests['offered'], 'request')} "
        f"completed{first}."
    )


def cost_sentence(summary: dict[str, Any]) -> str:
    """What the GPUs cost a month, and an output token of them."""
    cost = summary["cost"]
    month = cost.get("fleet_usd_per_month", MONTH_H * cost["gpu_usd_per_hour"])
    if not month:
        return "Its hardware has no price."
    per_token = cost["usd_per_million_output_tokens"]
    each = f", which is {usd(per_token)} a million output tokens at this load" if per_token else ""
    condition = " if it is the scenario's fleet" if from_outside(summary) else ""
    gpus = "GPU" if cost["gpus"] == 1 else f"{cost['gpus']:,} GPUs"
    if month < MONTH_H * cost["gpu_usd_per_hour"] * (1 - 1e-9):
        gpus += ", rented no longer than in this run,"
    return f"Its {gpus} would cost {usd(month)} a month (720 hours){condition}{each}."


def limit_sentence(limits: Sequence[str]) -> str:
    """The verdict that the paragraphs begin with, without its figures."""
    if not limits:
        return ""
    verdict = re.split(r"[:;] |\.(?: |$)", limits[0], maxsplit=1)[0]
    named = re.search(r"\. (\w[^.:;]* is the limit)\b", limits[0])
    if named:  # of an overloaded fleet, behind what overload means
        verdict += f", and {_lower(named[1])}"
    return f"{verdict}."


def _lower(text: str) -> str:
    """As the middle of a sentence begins."""
    return text if text[:2].isupper() else text[0].lower() + text[1:]


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
