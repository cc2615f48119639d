"""What befell a run, in words: the scripted events of its scenario, and its bursts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simlora.report.words import counted, moment, tick

if TYPE_CHECKING:
    import pandas as pd

_NAMED = 4  # in a sentence, before the rest is only counted


@dataclass(frozen=True, slots=True)
class Happening:
    """`label` is for figures, `told` a clause, such as `replica 0 crashed`. `loses`: whether
    replicas were lost with the requests on them. `senders`: the tenant or the group of tenants that
    sent a burst."""

    label: str
    told: str
    at_s: float
    duration_s: float
    loses: bool = False
    senders: str = ""

    @property
    def end_s(self) -> float:
        return self.at_s + self.duration_s


def happenings(summary: dict[str, Any], timeline: pd.DataFrame | None = None) -> list[Happening]:
    """All that began before a run's end, by that time; none for a run of an older version.
    `timeline`: without it, a replica that crashed is taken to have been up."""
    events = [_event(event, timeline) for event in summary.get("events", ())]
    asked = [*events, *map(_burst, summary.get("bursts", ()))]
    found = [happening for happening in asked if happening.at_s < summary["simulation"]["span_s"]]
    return sorted(found, key=lambda happening: happening.at_s)


def happenings_sentence(summary: dict[str, Any], timeline: pd.DataFrame | None = None) -> str:
    """`At 60 s, replica 0 crashed (for 30 s).`, the first few by name; empty if nothing befell."""
    found = happenings(summary, timeline)
    if not found:
        return ""
    told = [f"at {moment(h.at_s)}, {h.told} (for {tick(h.duration_s)})" for h in found[:_NAMED]]
    more = len(found) - len(told)
    sentence = "; ".join(told) + (f"; and {counted(more, 'more event')} later" if more else "")
    return f"{sentence[0].upper()}{sentence[1:]}."


def _burst(burst: dict[str, Any]) -> Happening:
    who = burst["tenant"]
    if burst["tenants"] > 1:
        who = f"each of the {burst['tenants']:,} tenants of {who}"
    return Happening(
        f"burst: {burst['tenant']}",
        f"{who} sent {counted(burst['requests'], 'more request')}",
        burst["start_s"],
        burst["duration_s"],
        senders=burst["tenant"],
    )


def _event(event: dict[str, Any], timeline: pd.DataFrame | None) -> Happening:
    label, told, loses = _kind(event)
    if "crash" in event and timeline is not None and _was_off(event, timeline):
        label, loses = f"{label} (off)", False
        told = f"replica {event['crash']} crashed while it was not running"
    return Happening(label, told, event["at_s"], event["duration_s"], loses)


def _was_off(event: dict[str, Any], timeline: pd.DataFrame) -> bool:
    """Whether the last instant of the timeline before a crash shows its replica down."""
    if "up" not in timeline:
        return False
    before = timeline[
        (timeline["replica"] == event["crash"]) & (timeline["time_s"] < event["at_s"])
    ]
    return len(before) > 0 and not before["up"].iloc[-1]


def _kind(event: dict[str, Any]) -> tuple[str, str, bool]:
    """Label, clause, and whether replicas are lost."""
    if "crash" in event:
        return f"crash: replica {event['crash']}", f"replica {event['crash']} crashed", True
    if "region_outage" in event:
        region = event["region_outage"]
        return f"outage: {region}", f"region {region} was lost", True
    if "slow_gpu" in event:
        replica, factor = event["slow_gpu"], f"{event['factor']:g}"
        slow = f"the steps of replica {replica} took {factor} times as long"
        return f"slow: replica {replica} ({factor} ×)", slow, False
    if "store_outage" in event:
        return "store outage", "the object store did not answer", False
    if "corrupt_adapter" in event:
        adapter = event["corrupt_adapter"]
        return f"corrupt: {adapter}", f"the file of adapter {adapter} was damaged", False
    if "pool_leak" in event:
        replica, rate = event["pool_leak"], f"{event['gb_per_s']:.4g} GB"
        return (
            f"leak: replica {replica}",
            f"replica {replica} lost {rate} of memory a second",
            False,
        )
    return "event", "something else happened", False
