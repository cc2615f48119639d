"""The first sentences of a report: what befell the run, and whether each tier's promise held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simlora.report.happenings import happenings_sentence
from simlora.report.words import promise, share

if TYPE_CHECKING:
    import pandas as pd


def lead(summary: dict[str, Any], timeline: pd.DataFrame | None = None) -> list[str]:
    """Paragraphs; none for a run to which nothing happened and that has one tier. `timeline`:
    without it, a replica that crashed is taken to have been up."""
    tiers = {n: tier for n, tier in summary["tiers"].items() if tier["requests"]["offered"]}
    befell = happenings_sentence(summary, timeline)
    if not befell and len(tiers) < 2:
        return []
    told = [_kept(name, tier) for name, tier in tiers.items() if tier["sla"]]
    told.append(_turned_away(tiers))
    return [paragraph for paragraph in (befell, " ".join(filter(None, told))) if paragraph]


def _kept(name: str, tier: dict[str, Any]) -> str:
    """Whether the tier kept what it promises, bound by bound where it did not."""
    judged = [promise(bound, entry) for bound, entry in tier["sla"].items()]
    missed = [f"{measured} for {asked}" for asked, measured, v in judged if v == "missed"]
    if missed:
        return f"Tier {name} broke its promise: {', '.join(missed)}."
    unsure = [asked for asked, _, verdict in judged if verdict != "met"]
    if unsure:
        return f"Whether tier {name} kept {' and '.join(unsure)} cannot be told."
    kept = ", ".join(f"{measured} for {asked}" for asked, measured, _ in judged)
    return f"Tier {name} kept its promise: {kept}."


def _turned_away(tiers: dict[str, dict[str, Any]]) -> str:
    """Which tiers' requests were turned away or failed."""
    shares = {
        name: (tier["requests"]["rejected"] + tier["requests"]["failed"])
        / tier["requests"]["offered"]
        for name, tier in tiers.items()
    }
    told = [f"{share(value)} of tier {name}" for name, value in shares.items() if value]
    return f"Turned away or failed: {', '.join(told)}." if told else ""
