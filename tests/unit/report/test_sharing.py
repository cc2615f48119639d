"""A report tells which isolation of cached prefixes was in force, and what crossed it."""

from __future__ import annotations

import re
from typing import Any

import pytest

import simlora
from simlora.report import write_report
from simlora.report.sharing import who_shares
from simlora.report.words import tokens
from simlora.results.result import Result
from simlora.scenario.schema import Scenario

COMMON = 640


def simulated(isolation: str, tenants: int = 4, **more: Any) -> Result:
    fields: dict[str, Any] = {
        "name": "chatting",
        "model": "qwen2.5-7b",
        "fleet": [{"gpu": "l40s", "replicas": 2}],
        "tenants": [{"name": "firm", "count": tenants, "adapters": 2, "adapter": {"rank": 8}}],
        "workload": {
            "duration_s": 200,
            "rate_rps": 2,
            "arrivals": {
                "sessions": {
                    "turns_mean": 3,
                    "think_time_s": 10,
                    "common_prefix_tokens": COMMON,
                    "shared_prefix_tokens": 128,
                }
            },
            "prompt_tokens": {"fixed": 100},
            "output_tokens": {"fixed": 40},
        },
        "engine": {"prefix_cache": {"isolation": isolation}},
    }
    return simlora.simulate(Scenario.model_validate(fields | more))


@pytest.mark.parametrize(
    ("isolation", "force"),
    [("adapter", "for each adapter on its own"), ("tenant", "for each tenant on its own")],
)
def test_nothing_crosses_from_one_to_another_that_is_kept_apart(isolation: str, force: str) -> None:
    result = simulated(isolation)
    told, pointer = who_shares(result)
    assert force in told
    prefix = result.summary["prefix_cache"]
    assert f"{tokens(prefix['hit_tokens'])} (" in told
    parts = {"adapter": "8 adapters", "tenant": "4 tenants"}[isolation]
    assert f"The first requests of the {parts} that were served" in told
    assert f"found nothing: no prefix crossed from one {isolation} to another." in told
    assert "simlora isolation" in pointer
    html = write_report(result).read_text()
    assert "<h2>Isolation of cached prefixes</h2>" in html


def test_what_crosses_in_a_shared_cache_is_counted() -> None:
    """At least the platform's prompt, for all tenants but the first on each replica."""
    told = who_shares(simulated("shared"))[0]
    assert "All tenants share one cache" in told
    assert "The first requests of the 4 tenants that were served" in told
    found = re.search(r"had computed, found ([\d.]+) k tokens\.$", told)
    assert found
    assert 1000 * float(found[1]) >= 2 * COMMON * 0.99


def test_selective_isolation_lets_the_common_prompt_through_and_no_more() -> None:
    told = who_shares(simulated("selective"))[0]
    found = re.search(r"other adapters had computed, found ([\d.]+) k tokens\.$", told)
    assert found
    assert 6 * COMMON * 0.99 <= 1000 * float(found[1]) <= 7 * COMMON * 1.01


def test_without_anything_to_share_there_is_no_section() -> None:
    assert who_shares(simulated("adapter", tenants=1)) == []
    off = simulated("adapter", engine={"prefix_cache": {"enabled": False}})
    assert who_shares(off) == []
    assert "Isolation of cached" not in write_report(off).read_text()
