"""What befell a run is named, and what came of it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simlora.report import write_report
from simlora.report.asked import read_asked
from simlora.report.happenings import happenings, happenings_sentence
from simlora.report.happenings_table import happening_rows
from simlora.report.interruptions import interruptions_sentence
from simlora.report.lead import lead
from simlora.report.limits import what_limits
from simlora.report.words import moment
from simlora.results.result import Result
from simlora.results.schema import BatchFacts
from simlora.serving.request import FAILED, REJECTED, Request
from simlora.sim import simulate
from tests.simulating import small_scenario
from tests.unit.results.recorded import completed, deployment, ended, record


def timed(**kind: Any) -> dict[str, Any]:
    return {"at_s": 60.0, "duration_s": 30.0, **kind}


def told(**happened: list[dict[str, Any]]) -> dict[str, Any]:
    return {"simulation": {"span_s": 1000.0}, **happened}


@pytest.mark.parametrize(
    ("event", "label", "clause"),
    [
        (timed(crash=3), "crash: replica 3", "replica 3 crashed"),
        (timed(region_outage="eu"), "outage: eu", "region eu was lost"),
        (
            timed(slow_gpu=1, factor=2.5),
            "slow: replica 1 (2.5 ×)",
            "the steps of replica 1 took 2.5 times as long",
        ),
        (timed(store_outage=True), "store outage", "the object store did not answer"),
        (
            timed(corrupt_adapter="pro-0001"),
            "corrupt: pro-0001",
            "the file of adapter pro-0001 was damaged",
        ),
        (
            timed(pool_leak=2, gb_per_s=0.5),
            "leak: replica 2",
            "replica 2 lost 0.5 GB of memory a second",
        ),
    ],
)
def test_every_kind_of_event_has_words(event: dict[str, Any], label: str, clause: str) -> None:
    (found,) = happenings(told(events=[event]))
    assert (found.label, found.told, found.end_s) == (label, clause, 90.0)
    assert found.loses == (label.startswith(("crash", "outage")))


def test_events_and_bursts_are_told_in_the_order_of_time() -> None:
    burst = {"start_s": 20.0, "duration_s": 5.0, "requests": 7}
    bursts = [
        {"tenant": "free", "tenants": 200, **burst},
        {"tenant": "pro-0001", "tenants": 1, **burst | {"start_s": 650.0}},
    ]
    assert happenings_sentence(told(events=[timed(crash=0)], bursts=bursts)) == (
        "At 20 s, each of the 200 tenants of free sent 7 more requests (for 5 s); at 60 s, replica "
        "0 crashed (for 30 s); at 10 min 50 s, pro-0001 sent 7 more requests (for 5 s)."
    )
    many = happenings_sentence(told(events=[timed(crash=n) for n in range(7)]))
    assert many.endswith("replica 3 crashed (for 30 s); and 3 more events later.")
    assert happenings_sentence(told()) == ""


def test_what_would_have_come_after_the_end_did_not_happen() -> None:
    late = [{"at_s": at_s, "duration_s": 5.0, "crash": 0} for at_s in (999.0, 1000.0)]
    assert [happening.at_s for happening in happenings(told(events=late))] == [999.0]


def test_moments_are_told_to_the_second_and_from_three_hours_on_to_the_minute() -> None:
    moments = [moment(s) for s in (0.0, 45.5, 599.0, 650.0, 660.0, 10_800.0, 93_900.0)]
    assert moments == ["0", "45.5 s", "599 s", "10 min 50 s", "11 min", "3 h", "26 h 5 min"]


def befallen(directory: Path, requests: list[Request], **fields: Any) -> Result:
    return record(deployment(events=[timed(crash=0)]), directory, requests, 200.0, **fields)


def test_a_row_is_of_the_requests_that_came_while_it_lasted(tmp_path: Path) -> None:
    of = deployment()
    calm = [completed(of, i, float(i)) for i in range(60)]
    hit = [completed(of, 60 + i, 60.0 + i, queue_s=5.0) for i in range(29)]
    lost = [ended(of, 89, 89.9, 0, REJECTED)]
    after = [completed(of, 90, 90.0)]
    result = befallen(tmp_path, calm + hit + lost + after)
    assert happening_rows(result, read_asked(result)) == [
        ("replica 0 crashed", "60 s", "30 s", "30", "3.33 %", "5.04 s"),
        ("none of these", "", "", "61", "0 %", "40.0 ms"),
    ]


def test_a_burst_has_a_row_of_who_sent_it_and_one_of_everybody_else(tmp_path: Path) -> None:
    burst = {"start_s": 60.0, "duration_s": 30.0, "requests": 20}

    def rows(name: str, tenant: str, **workload: Any) -> list[tuple[str, ...]]:
        bursts = [{"tenant": tenant, **burst}]
        of = deployment(workload={"rate_rps": 10.0, "arrivals": {"bursts": bursts}})
        sent = [completed(of, i, 60.0 + i, i % 2, queue_s=50.0) for i in range(20)]
        calm = [completed(of, 20 + i, 60.0 + i, 7) for i in range(10)]
        late = [completed(of, 30, 95.0, 7), completed(of, 31, 95.0, 1, queue_s=9.0)]
        result = record(of, tmp_path / name, sent + calm + late, 200.0)
        return happening_rows(result, read_asked(result))

    assert rows("group", "pro") == [
        (
            "each of the 5 tenants of pro sent 20 more requests",
            "60 s",
            "30 s",
            "20",
            "0 %",
            "50.0 s",
        ),
        ("everybody else meanwhile", "60 s", "30 s", "10", "0 %", "40.0 ms"),
        ("none of these, tenants with bursts", "", "", "1", "0 %", "9.04 s"),
        ("none of these, everybody else", "", "", "1", "0 %", "40.0 ms"),
    ]
    assert [row[3] for row in rows("one", "pro-0001")] == ["10", "20", "1", "1"]


def test_a_replica_that_was_off_is_told_to_have_been_off_when_it_crashed() -> None:
    sleeper = {"gpu": "mini", "replicas": 2, "autoscale": {"min": 1, "target_requests": 1000}}
    scenario = small_scenario(
        fleet=[sleeper],
        workload={"rate_rps": 1.0, "duration_s": 90},
        events=[timed(crash=0, at_s=30.0), timed(crash=1, at_s=31.0)],
    )
    result = simulate(scenario)
    up = result.timeline.query("time_s < 30").groupby("replica")["up"].last()
    assert list(up) == [1, 0]
    ran, off = happenings(result.summary, result.timeline)
    assert (ran.told, ran.loses) == ("replica 0 crashed", True)
    assert (off.told, off.loses) == ("replica 1 crashed while it was not running", False)
    assert off.label == "crash: replica 1 (off)"
    assert "replica 1 crashed while it was not running" in lead(result.summary, result.timeline)[0]
    assert "replica 1 crashed while it was not running" in write_report(result).read_text()


def preempted(index: int, arrival_s: float, decode_s: float, times: int = 1) -> Request:
    request = completed(deployment(), index, arrival_s, decode_s=decode_s)
    request.preemptions = times
    return request


def test_only_requests_under_way_at_a_loss_were_interrupted_by_it(tmp_path: Path) -> None:
    requests = [preempted(0, 59.0, 10.0), preempted(1, 10.0, 5.0), preempted(2, 61.0, 10.0)]
    sure = befallen(tmp_path / "a", requests[:1], preemptions=1)
    one = "1 request was interrupted by the loss of a replica and went on later."
    assert interruptions_sentence(sure.summary, read_asked(sure)) == one
    unsure = befallen(tmp_path / "b", requests, preemptions=3)
    assert interruptions_sentence(unsure.summary, read_asked(unsure)) == f"Up to {one}"


def test_requests_that_failed_with_their_replica_are_counted(tmp_path: Path) -> None:
    failed = ended(deployment(), 0, 59.0, 0, FAILED)
    failed.reason, failed.finish_s, failed.preemptions = "replica_lost", 60.0, 1
    result = befallen(tmp_path / "a", [failed], preemptions=1)
    one = "1 request failed because its replica was lost."
    assert interruptions_sentence(result.summary, read_asked(result)) == one
    nobody = befallen(tmp_path / "b", [])
    assert "No request was under way" in interruptions_sentence(nobody.summary, read_asked(nobody))
    calm = record(deployment(), tmp_path / "c", [failed], 100.0)
    assert interruptions_sentence(calm.summary, read_asked(calm)) == ""


def test_preemptions_by_the_loss_of_a_replica_are_not_put_down_to_memory(tmp_path: Path) -> None:
    busy = BatchFacts(steps=1000, busy_s=10.0, mean_running=1.0)
    requests = [preempted(i, 59.0, 10.0) for i in range(20)]
    crashed = befallen(tmp_path / "a", requests, preemptions=20, batch=busy)
    assert "GPU memory" not in what_limits(crashed, read_asked(crashed))[0]
    twice = befallen(tmp_path / "b", requests, preemptions=40, batch=busy)
    verdict = what_limits(twice, read_asked(twice))[0]
    assert "GPU memory is the limit: 20 preemptions threw work away" in verdict


def test_the_lead_says_whether_each_promise_held_and_who_paid(tmp_path: Path) -> None:
    of = deployment()
    kept = [completed(of, i, float(i)) for i in range(200)]
    refused = [ended(of, 200 + i, 70.0, 7, REJECTED) for i in range(4)]
    served = [completed(of, 204 + i, 70.0, 7, queue_s=9.0) for i in range(4)]
    befell, judged = lead(befallen(tmp_path / "a", kept + refused + served).summary)
    assert befell == "At 60 s, replica 0 crashed (for 30 s)."
    assert judged == (
        "Tier platinum kept its promise: 40.0 ms for TTFT p99 ≤ 500 ms, 100 % for availability "
        "≥ 99 %. Turned away or failed: 50 % of tier free."
    )
    late = [completed(of, i, float(i), queue_s=1.0) for i in range(100)]
    (*_, judged) = lead(befallen(tmp_path / "b", late).summary)
    assert judged == "Tier platinum broke its promise: 1.04 s for TTFT p99 ≤ 500 ms."


def test_without_events_and_with_one_tier_there_is_nothing_to_lead_with(tmp_path: Path) -> None:
    of = deployment()
    one = record(of, tmp_path / "a", [completed(of, 0, 0.0)], 10.0).summary
    assert lead(one) == []
    two = [completed(of, 0, 0.0), completed(of, 1, 0.0, 7)]
    assert len(lead(record(of, tmp_path / "b", two, 10.0).summary)) == 1


def test_a_crash_is_told_with_the_requests_that_it_interrupted() -> None:
    scenario = small_scenario(
        fleet=[{"gpu": "mini", "replicas": 2}],
        workload={"rate_rps": 40.0, "duration_s": 40, "output_tokens": {"fixed": 400}},
        events=[{"at_s": 15, "duration_s": 10, "crash": 0}],
    )
    result = simulate(scenario)
    interrupted = int((result.requests["preemptions"] > 0).sum())
    assert interrupted == result.summary["batch"]["preemptions"] > 10
    html = write_report(result).read_text()
    assert f"{interrupted} requests were interrupted by the loss of a replica" in html
    assert "<h2>What happened</h2>" in html
    assert "At 15&nbsp;s, replica 0 crashed (for 10&nbsp;s)." in html
    assert "<h3>Replicas over time</h3>" in html
    assert result.summary["replicas_up"]["least"] == 1
