"""Versions of adapters in words: a run's rollouts, and a row for each version."""

from __future__ import annotations

from typing import Any

from simlora.report.words import counted, duration, share, tick

HEADS = ("version", "requests", "hits", "TTFT p50", "p99", "TPOT p99", "E2E p50", "p99")
_FIGURES = (
    ("ttft_s", "p50"),
    ("ttft_s", "p99"),
    ("tpot_s", "p99"),
    ("e2e_s", "p50"),
    ("e2e_s", "p99"),
)

# The candidate's share is of these; the counts of versions are of the whole run.
_THOSE = "the requests that came while the rollout was on"
_MODES = {
    "pinned": "all requests stay with the stable version",
    "canary": f"the candidate served {{share}} of {_THOSE}",
    "ab": f"the candidate served {{share}} of {_THOSE}",
    "shadow": f"the candidate was sent copies of {{share}} of {_THOSE}",
    "switch": f"the candidate served {{share}} of {_THOSE}",
}


def rollouts(summary: dict[str, Any]) -> list[str]:
    """A sentence for each group with a rollout: its mode, the candidate's share, and how it came
    out."""
    return [
        f"{group}: {_mode(entry)}{_outcome(entry)}"
        for group, entry in (summary.get("versions") or {}).items()
    ]


def version_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row of figures, under `HEADS`, for each version that requests were sent to."""
    rows = []
    for group, entry in (summary.get("versions") or {}).items():
        for name, figures in entry["versions"].items():
            offered = figures["requests"]["offered"]
            if not offered:
                continue
            copies = " (copies)" if figures["copies"] else ""
            rows.append(
                (
                    f"{group} {name}{copies}",
                    f"{offered:,}",
                    share(figures["adapter_hit_ratio"]),
                    *(duration(figures[metric][percentile]) for metric, percentile in _FIGURES),
                )
            )
    return rows


def _mode(entry: dict[str, Any]) -> str:
    return f"{entry['mode']}, {_MODES[entry['mode']].format(share=share(entry['share_assigned']))}"


def _outcome(entry: dict[str, Any]) -> str:
    verdict = entry["rollback"]
    if verdict is not None:
        metric = f"{verdict['metric'].removesuffix('_s').upper()} p{verdict['percentile']}"
        candidate_s = verdict["candidate_s"]
        measured = "beyond measure, by failures" if candidate_s is None else duration(candidate_s)
        return (
            f"; rolled back at {duration(verdict['at_s'])}: its {metric} was {measured}, the "
            f"stable version's {duration(verdict['stable_s'])}"
        )
    if entry["promoted_at_s"] is not None:
        return f"; promoted at {tick(entry['promoted_at_s'])}"
    if entry["switched_at_s"]:
        first_s, last_s = entry["switched_at_s"][0], entry["switched_at_s"][-1]
        return (
            f"; {counted(len(entry['switched_at_s']), 'tenant')} changed over from "
            f"{tick(first_s)} to {tick(last_s)}"
        )
    return ""
