"""The course of rollouts is marked in figures over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.report import style, write_report
from simlora.report.asked import read_asked, told_over_time
from simlora.report.moments import moments
from simlora.report.tiers_over_time import latency_over_time
from simlora.results.files import RESOLVED_SCENARIO
from simlora.results.result import Result
from simlora.scenario.loading import dump_resolved
from simlora.serving.canary import Verdict
from simlora.serving.versions import VersionFacts
from tests.unit.results.recorded import completed, deployment, record

CANARY = {"mode": "canary", "share": 0.5, "start_s": 10.0, "end_s": 50.0}
BAD = Verdict(42.0, "ttft_s", 99, 0.1, 0.25, 300, 200)


def rolled_out(directory: Path, rollout: dict[str, Any], fact: VersionFacts | None) -> Result:
    """Half a minute of requests of each of two tenants, a minute in all."""
    tenants = [
        {"name": "acme", "count": 2, "rollout": {**rollout, "candidate": {"name": "next"}}},
        {"name": "free"},
    ]
    of = deployment(tenants=tenants, tiers={})
    requests = [completed(of, i, float(i), i // 30) for i in range(60)]
    result = record(of, directory, requests, 60.0, versions=() if fact is None else (fact,))
    text = dump_resolved(of.scenario, "")
    (directory / RESOLVED_SCENARIO).write_text(text, encoding="utf-8")
    return result


@pytest.mark.parametrize(
    ("rollout", "fact", "expected"),
    [
        (
            CANARY,
            VersionFacts(0, 10, 5, rolled_back=BAD),
            [("canary: acme", 10.0, 42.0), ("rolled back: acme", 42.0, 42.0)],
        ),
        (
            CANARY,
            VersionFacts(0, 10, 5, promoted_at_s=50.0),
            [("canary: acme", 10.0, 50.0), ("promoted: acme", 50.0, 50.0)],
        ),
        ({**CANARY, "end_s": None}, VersionFacts(0, 10, 5), [("canary: acme", 10.0, 60.0)]),
        (
            {"mode": "ab", "share": 0.5, "end_s": 20.0},
            VersionFacts(0, 10, 5),
            [("ab: acme", 0.0, 20.0), ("A/B ended: acme", 20.0, 20.0)],
        ),
        (
            {"mode": "switch", "every_s": 5.0, "start_s": 20.0},
            VersionFacts(0, 10, 5, switched_at_s=(20.0, 25.0)),
            [("switch: acme", 20.0, 25.0), ("all switched: acme", 25.0, 25.0)],
        ),
        (  # one of two
            {"mode": "switch", "every_s": 50.0, "start_s": 20.0},
            VersionFacts(0, 10, 5, switched_at_s=(20.0,)),
            [("switch: acme", 20.0, 60.0)],
        ),
        ({"mode": "pinned"}, VersionFacts(0, 10, 0), []),
    ],
)
def test_a_rollout_lasts_until_it_is_decided(
    tmp_path: Path,
    rollout: dict[str, Any],
    fact: VersionFacts,
    expected: list[tuple[str, float, float]],
) -> None:
    result = rolled_out(tmp_path, rollout, fact)
    assert [(each.label, each.at_s, each.end_s) for each in moments(result)] == expected
    assert told_over_time(result) == bool(expected)


def test_without_its_scenario_a_run_shows_how_its_rollout_ended(tmp_path: Path) -> None:
    result = rolled_out(tmp_path, CANARY, VersionFacts(0, 10, 5, rolled_back=BAD))
    (tmp_path / RESOLVED_SCENARIO).unlink()
    assert [each.label for each in moments(result)] == ["rolled back: acme"]


def test_latency_over_time_names_the_rollout_and_its_end(tmp_path: Path) -> None:
    result = rolled_out(tmp_path, CANARY, VersionFacts(0, 10, 5, rolled_back=BAD))
    with style.styled():
        figure = latency_over_time(result, read_asked(result))
    labels = [text.get_text() for text in figure.axes[0].texts]
    assert labels == ["canary: acme", "rolled back: acme"]
    assert "<h3>Latency over time</h3>" in write_report(result).read_text()
