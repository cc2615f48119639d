"""Requests that were under way on replicas when these were lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from simlora.report.asked import Asked
from simlora.report.happenings import happenings
from simlora.report.words import counted
from simlora.results.arrays import Ints


def interruptions_sentence(summary: dict[str, Any], asked: Asked) -> str:
    """What became of requests whose replica was lost; empty if no replica was."""
    if not any(happening.loses for happening in happenings(summary)):
        return ""
    preempted = _preemptions_by_loss(summary, asked)
    causes = [index for index, (_, reason) in enumerate(asked.causes) if reason == "replica_lost"]
    lost = np.isin(asked.cause, causes)
    retried, failed = int(((preempted > 0) & ~lost).sum()), int(lost.sum())
    most = "" if preempted.sum() == summary["batch"]["preemptions"] else "Up to "
    told = []
    if retried:
        interrupted = f"{most}{counted(retried, 'request')} {'was' if retried == 1 else 'were'}"
        told.append(f"{interrupted} interrupted by the loss of a replica and went on later.")
    if failed:
        whose = "its" if failed == 1 else "their"
        told.append(f"{counted(failed, 'request')} failed because {whose} replica was lost.")
    return " ".join(told) or "No request was under way on the replicas that were lost."


def preemptions_words(summary: dict[str, Any]) -> str:
    """How often requests were preempted. Where replicas were lost, the summary alone does not tell
    whether they or memory were the reason."""
    count = summary["batch"]["preemptions"]
    if not count or not any(happening.loses for happening in happenings(summary)):
        return counted(count, "preemption")
    times = "once" if count == 1 else f"{count:,} times"
    return f"requests interrupted {times} by the loss of a replica or for memory"


def preemptions_for_memory(summary: dict[str, Any], asked: Asked) -> int:
    """Preemptions that no loss of a replica can explain."""
    return max(int(summary["batch"]["preemptions"] - _preemptions_by_loss(summary, asked).sum()), 0)


def _preemptions_by_loss(summary: dict[str, Any], asked: Asked) -> Ints:
    """How often each request was preempted because its replica was lost, at most: the table does
    not tell when, so that it is as often as a replica was lost while the request was under way."""
    end_s = np.where(np.isnan(asked.finish_s), np.inf, asked.finish_s)
    losses = np.zeros(len(end_s), dtype=np.int64)
    for happening in happenings(summary):
        if happening.loses:
            losses += (asked.arrival_s < happening.at_s) & (end_s >= happening.at_s)
    preempted: Ints = np.minimum(asked.preemptions, losses)
    return preempted
