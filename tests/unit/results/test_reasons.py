"""Why requests were turned away or failed is told of the run and of each tier."""

from __future__ import annotations

from pathlib import Path

from simlora.results.recorder import Recorder
from simlora.serving.request import FAILED, REJECTED, WAITING, Request
from tests.unit.results.recorded import completed, deployment, ended, facts, record

PRO, FREE = 0, 7  # tenants of the tiers platinum and free


def refused(index: int, tenant: int, status: int, reason: str, at_s: float = 50.0) -> Request:
    request = ended(deployment(), index, at_s, tenant, status)
    request.reason = reason
    return request


def story() -> list[Request]:
    return [
        refused(0, FREE, REJECTED, "overloaded", at_s=1.0),
        refused(1, FREE, REJECTED, "overloaded"),
        refused(2, FREE, REJECTED, "overloaded"),
        refused(3, FREE, FAILED, "timeout"),
        refused(4, PRO, REJECTED, "rate_limit"),
        refused(5, PRO, FAILED, ""),
        ended(deployment(), 6, 50.0, PRO, WAITING),
        completed(deployment(), 7, 50.0),
    ]


def test_a_tier_counts_its_requests_after_the_warmup_and_the_run_all_of_them(
    tmp_path: Path,
) -> None:
    summary = record(deployment(), tmp_path, story(), 100.0, warmup_s=10.0).summary
    assert summary["requests"]["reasons"] == {
        "rejected": {"overloaded": 3, "rate_limit": 1},
        "failed": {"timeout": 1, "unknown": 1},
    }
    assert summary["tiers"]["free"]["requests"]["reasons"] == {
        "rejected": {"overloaded": 2},
        "failed": {"timeout": 1},
    }
    assert summary["tiers"]["platinum"]["requests"]["reasons"] == {
        "rejected": {"rate_limit": 1},
        "failed": {"unknown": 1},
    }


def test_reasons_are_written_alike_however_they_came(tmp_path: Path) -> None:
    of = deployment()
    recorder = Recorder(of, tmp_path / "parts", warmup_s=10.0)
    for request in reversed(story()):
        recorder.pending.append(request)
        recorder.flush()
    recorder.close(facts(100.0))
    record(of, tmp_path / "once", story(), 100.0, warmup_s=10.0)
    parts, once = ((tmp_path / name / "summary.json").read_text() for name in ("parts", "once"))
    assert (
        parts[parts.index('"reasons"') : parts.index('"clients"')]
        == (once[once.index('"reasons"') : once.index('"clients"')])
    )
