"""The report of a run that a client measured tells what a client can see, and nothing else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from simlora.cli.tables import summary_table
from simlora.report import figures, style, write_report
from simlora.report.gauges import fleet_gauges
from simlora.report.measured import from_outside, is_measured
from simlora.report.outside import what_was_seen
from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import MEASURED, MemoryFacts, PrefixFacts, TimingFacts
from simlora.serving.request import FAILED, Request
from tests.unit.results.recorded import completed, deployment, ended, facts, record

URL = "http://gpu:8000"
SERVER = TimingFacts(URL, MEASURED)
UNKNOWN = (MemoryFacts(0, 0, 0, 0),) * 2
OF = deployment()


def client(
    directory: Path,
    requests: Iterable[Request],
    *,
    waiting: Iterable[int] = (),
    **more: Any,
) -> Result:
    """A run of 100 s as the client of a server records it: no replica is known."""
    recorder = Recorder(OF, directory, warmup_s=0.0)
    for request in requests:
        request.replica = -1
        recorder.pending.append(request)
    for second, count in enumerate(waiting or [0] * 100):
        recorder.sample(float(second), 0, 3, count, 0, 0, 0, 0, 0)
    return recorder.close(facts(100.0, timing=SERVER, memory=UNKNOWN, **more))


def steady(**change: Any) -> list[Request]:
    return [completed(OF, n, n / 8, n % 7, source=0, **change) for n in range(700)]


def text_of(html: str) -> str:
    """What a reader sees of the page."""
    html = re.sub(r"<style.*?</style>|<title.*?</title>", "", html, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", html)).split())


def test_the_page_holds_nothing_that_was_not_measured(tmp_path: Path) -> None:
    result = client(tmp_path, steady())
    told = text_of(write_report(result).read_text())
    for absent in (
        "What limits this fleet",
        "Adapter hits",
        "KV capacity",
        "Running at once",
        "Prefix cache",
        "Memory over time",
        "Adapters",
        "adapter wait",
        "preempt",
        "longest wait",
        "simulated",
        "roofline",
        "requests running",
        "Isolation",
    ):
        assert absent not in told
    for present in (
        "What the client saw",
        f"{URL}, taken for llama-3.1-8b on 2 × h100-80gb, 100 s served",
        "Between two tokens, p99",
        "End to end, p99 1.04 s",
        "answers under way",
        "requests without a token",
        "to the first token",
        "Jain, latency",
        "if the fleet is the scenario's",
        f"measured at the client of {URL}",
    ):
        assert present in told


def test_prefix_hits_are_told_where_the_server_tells_them(tmp_path: Path) -> None:
    result = client(tmp_path, steady(), prefix=PrefixFacts(1000, 250))
    told = text_of(write_report(result).read_text())
    assert "Prefix cache hits 25 % 250 prompt tokens not computed" in told
    assert "prefix cache  25 %" in printed(result)


def printed(result: Result) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(summary_table(result.summary))
    return out.getvalue()


def test_the_table_leaves_out_what_a_client_cannot_see(tmp_path: Path) -> None:
    text = printed(client(tmp_path / "client", steady()))
    for absent in ("adapters", "batch", "prefix", "longest wait", "timing", "simulated"):
        assert absent not in text
    for present in ("700 offered", "fairness", f"server      {URL}", "served      for 100 s"):
        assert present in text
    inside = printed(record(OF, tmp_path / "inside", steady(), 100.0, timing=SERVER))
    for present in ("adapters", "batch", "timing"):
        assert present in inside


def test_a_run_on_an_engine_of_its_own_is_measured_but_not_from_outside(tmp_path: Path) -> None:
    inside = record(OF, tmp_path / "a", steady(), 100.0, timing=SERVER).summary
    assert is_measured(inside)
    assert not from_outside(inside)
    simulated = record(OF, tmp_path / "b", steady(), 100.0).summary
    assert not is_measured(simulated)
    assert not from_outside(simulated)


@pytest.mark.parametrize(("growing", "told"), [(True, True), (False, False)])
def test_a_server_that_falls_behind_is_called_overloaded(
    tmp_path: Path, growing: bool, told: bool
) -> None:
    waiting = [3 * second if growing else 20 for second in range(100)]
    sentences = what_was_seen(client(tmp_path, steady(), waiting=waiting))
    assert sentences[0].startswith("The server is overloaded") == told
    assert any("cannot be told from outside" in sentence for sentence in sentences)


def test_missed_promises_and_failures_are_told_without_a_cause_inside(tmp_path: Path) -> None:
    requests = steady(prefill_s=2.0) + [ended(OF, 700 + n, 1.0, 0, FAILED) for n in range(9)]
    told = " ".join(what_was_seen(client(tmp_path, requests)))
    assert "The first token took 2.00 s on average." in told
    assert "Of 709 requests, 9 failed." in told
    assert "Tier platinum misses TTFT p99 ≤ 500 ms (measured 2.00 s" in told
    assert "phase" not in told


def test_time_lost_to_refusals_is_told_apart(tmp_path: Path) -> None:
    requests = steady(queue_s=0.06)
    for request in requests:
        request.attempts = 2
    told = what_was_seen(client(tmp_path, requests))[0]
    assert "took 100 ms on average, 60 % of it until the server took the request" in told
    assert "asked again 700 times" in told


def test_a_run_in_which_nothing_completed_has_a_report(tmp_path: Path) -> None:
    result = client(tmp_path, [ended(OF, 0, 0.0, 0, FAILED)])
    told = text_of(write_report(result).read_text())
    assert "No request completed" in told
    assert "failed too long" in told


def test_counts_over_time_are_those_of_the_requests(tmp_path: Path) -> None:
    requests = [*steady(), ended(OF, 700, 50.0, 0, FAILED), completed(OF, 701, 99.5, source=0)]
    result = client(tmp_path, requests)
    times, fleet, _ = fleet_gauges(result)
    rows = result.requests
    assert fleet["arrived"].sum() == 702
    assert fleet["completed"].sum() == 701
    assert fleet["output_tokens"].sum() == 701 * 11
    at_s = int(np.flatnonzero(times == 40.0)[0])
    assert fleet["arrived"][: at_s + 1].sum() == (rows["arrival_s"] <= 40.0).sum()
    assert fleet["output_tokens"][: at_s + 1].sum() == 11 * (rows["finish_s"] <= 40.0).sum()
    with style.styled():
        *_, tokens = figures.load_over_time(result).axes
    assert tokens.get_lines()[0].get_ydata().max() > 50  # type: ignore[union-attr]
