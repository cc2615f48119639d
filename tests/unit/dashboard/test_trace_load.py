"""An uploaded trace as the load: whose requests they become, and that they are replayed as sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora import Scenario, UserError, load_scenario, simulate
from simlora.dashboard import trace_replay
from simlora.dashboard.limits import check_size, expected_requests
from simlora.dashboard.run_tasks import keep_run, what_if
from simlora.dashboard.scenario_text import scenario_from_text
from simlora.dashboard.state import default_text
from simlora.dashboard.trace_load import (
    BUSIEST,
    EVENLY,
    NAMED,
    Replay,
    TraceLoad,
    divided,
    files_of,
    names_fit,
    replaying,
    tenant_names,
)
from simlora.dashboard.trace_replay import packed, placed, replayed_trace

ROOT = Path(__file__).parents[3]
BURSTY, CHAT = ROOT / "traces/bursty.parquet", ROOT / "traces/chat.parquet"


@pytest.fixture
def scenario() -> Scenario:
    return scenario_from_text(default_text(), "default")


def pack(trace: Path, scratch: Path, rows: int | None = None) -> TraceLoad:
    return packed(trace, trace.name, rows or len(pd.read_parquet(trace)), scratch)


def at(scratch: Path, scenario: Scenario, load: TraceLoad, how: Replay) -> Scenario:
    """The scenario that replays the trace, with what a worker is given in `scratch`."""
    for name, content in files_of(scenario, load, how).items():
        (scratch / name).write_bytes(content)
    return replaying(scenario, load, how)


def silent(share: float, told: str) -> None:
    """Progress that nobody looks at."""


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.integers(1, 3000))
def test_tenants_are_divided_whole_and_in_proportion(counts: list[int], tenants: int) -> None:
    given_to = divided(counts, tenants)
    assert sum(given_to) == tenants
    assert min(given_to) >= (tenants >= len(counts))
    whole = sum(counts)
    if all(count * tenants >= whole for count in counts):  # nobody had to be given a first one
        for count, share in zip(counts, given_to, strict=True):
            assert abs(share - count * tenants / whole) < 1


def test_evenly_gives_every_group_busy_and_quiet_tenants(
    tmp_path: Path, scenario: Scenario
) -> None:
    names = tenant_names(scenario, pack(BURSTY, tmp_path), EVENLY)
    assert len(set(names)) == 200
    for first in range(0, 200, 20):
        groups = Counter(name.rpartition("-")[0] for name in names[first : first + 20])
        assert groups["gold"] in (1, 2, 3)
        assert groups["silver"] in (5, 6, 7)
        assert groups["free"] in (11, 12, 13)


def test_the_busiest_are_in_the_first_group(tmp_path: Path, scenario: Scenario) -> None:
    names = tenant_names(scenario, pack(BURSTY, tmp_path), BUSIEST)
    assert names[:20] == [f"gold-{k:04d}" for k in range(20)]
    assert names[-1] == "free-0119"


def test_every_request_is_replayed_by_the_tenant_that_its_own_became(
    tmp_path: Path, scenario: Scenario
) -> None:
    load = pack(BURSTY, tmp_path)
    how = Replay(load.requests)
    sent, became = pd.read_parquet(BURSTY), tenant_names(scenario, load, EVENLY)
    replayed = at(tmp_path, scenario, load, how)
    rows = pd.read_parquet(str(placed(tmp_path, replayed).workload.trace))
    called = dict(zip(load.tenants, became, strict=True))
    assert rows["tenant"].tolist() == sent["tenant"].map(called).tolist()
    assert rows["adapter"].tolist() == rows["tenant"].tolist()
    for column in ("arrival_s", "prompt_tokens", "output_tokens", "session", "priority"):
        pd.testing.assert_series_equal(rows[column], sent[column])
    asked = sent["tenant"].value_counts()
    assert [asked[name] for name in load.tenants] == sorted(asked, reverse=True)


def test_prefixes_are_replayed_as_they_were(tmp_path: Path, scenario: Scenario) -> None:
    load = pack(CHAT, tmp_path)
    replayed = at(tmp_path, scenario, load, Replay(700))
    rows = pd.read_parquet(str(placed(tmp_path, replayed).workload.trace))
    sent = pd.read_parquet(CHAT).head(700)
    assert [list(ids) for ids in rows["prefix_hashes"]] == [
        list(ids) for ids in sent["prefix_hashes"]
    ]


def test_a_trace_of_the_scenarios_own_tenants_runs_as_from_the_command_line(
    tmp_path: Path, scenario: Scenario
) -> None:
    tenants = {"name": "tenant", "count": 100, "tier": "gold"}
    own = scenario.with_overrides({"tenants": [tenants], "fleet.0.replicas": 2})
    load = pack(BURSTY, tmp_path)
    assert names_fit(own, load.tenants)
    assert not names_fit(scenario, load.tenants)
    how = Replay(load.requests, 0.5, NAMED)
    replayed = at(tmp_path, own, load, how)
    assert replayed.tenants[0].count == 200  # as many as the trace names
    workload = {"trace": str(BURSTY), "rate_scale": 0.5}
    there = simulate(own.with_overrides({"tenants.0.count": 200, "workload": workload}))
    here = simulate(placed(tmp_path, replayed))
    pd.testing.assert_frame_equal(here.requests, there.requests)


def test_a_faster_replay_is_more_load(tmp_path: Path, scenario: Scenario) -> None:
    load = pack(CHAT, tmp_path)
    last_s, waits_s = [], []
    for speed in (1.0, 4.0):
        replayed = at(tmp_path, scenario, load, Replay(500, speed))
        requests = simulate(placed(tmp_path, replayed)).requests
        assert len(requests) == 500
        last_s.append(requests["arrival_s"].max())
        waits_s.append(requests["ttft_s"].mean())
    assert last_s[1] == pytest.approx(last_s[0] / 4)
    assert waits_s[1] > waits_s[0]


def write(path: Path, tenants: list[str], adapters: list[str | None] | None = None) -> Path:
    rows = pd.DataFrame(
        {
            "arrival_s": [float(n) for n in range(len(tenants))],
            "tenant": tenants,
            "prompt_tokens": 20,
            "output_tokens": 5,
        }
    )
    if adapters is not None:
        rows["adapter"] = adapters
    rows.to_parquet(path)
    return path


def test_groups_have_as_many_adapters_as_one_of_their_tenants_asks_for(
    tmp_path: Path, scenario: Scenario
) -> None:
    trace = write(
        tmp_path / "many.parquet",
        ["a", "a", "a", "a", "b", "b", "c"],
        ["x", "y", "y", None, "x", "x", None],
    )
    load = pack(trace, tmp_path)
    assert load.tenants == ("a", "b", "c")
    assert load.adapters == (2, 1, 0)
    replayed = at(tmp_path, scenario, load, Replay(7, division=BUSIEST))
    assert [(group.name, group.count, group.adapters) for group in replayed.tenants] == [
        ("gold", 1, 2),
        ("silver", 1, 1),
        ("free", 1, 0),
    ]
    rows = pd.read_parquet(str(placed(tmp_path, replayed).workload.trace))
    first, second = "gold-0000/1", "gold-0000/0"  # the one asked for more often has the number 0
    assert rows["adapter"].fillna("base").tolist() == [
        *(first, second, second, "base"),
        *("silver-0000", "silver-0000", "base"),
    ]
    assert what_if(tmp_path, silent, replayed).summary["requests"]["completed"] == 7


def test_a_trace_that_names_no_adapters_leaves_the_groups_their_own(
    tmp_path: Path, scenario: Scenario
) -> None:
    load = pack(write(tmp_path / "plain.parquet", ["a", "b", "c", "d"]), tmp_path)
    changed = scenario.with_overrides({"tenants.2.adapters": 3})
    assert [group.adapters for group in replaying(changed, load, Replay(4)).tenants] == [1, 1, 3]


def test_fewer_tenants_than_groups_leave_the_smallest_groups_out(
    tmp_path: Path, scenario: Scenario
) -> None:
    load = pack(write(tmp_path / "two.parquet", ["a", "b", "a"]), tmp_path)
    replayed = at(tmp_path, scenario, load, Replay(3))
    assert [group.name for group in replayed.tenants] == ["silver", "free"]
    assert what_if(tmp_path, silent, replayed).summary["requests"]["offered"] == 3


def test_only_the_first_requests_are_kept_of_a_long_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_replay, "MOST_REQUESTS", 1000)
    load = pack(BURSTY, tmp_path)
    assert (load.total, load.requests) == (6611, 1000)
    first = pd.read_parquet(BURSTY).head(1000)
    assert load.span_s == first["arrival_s"].iloc[-1]
    assert set(load.tenants) == set(first["tenant"])
    assert load.longest_tokens == (first["prompt_tokens"] + first["output_tokens"]).max()


def test_a_trace_is_cut_before_the_tenant_that_is_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_replay, "MOST_TENANTS", 2)
    load = pack(write(tmp_path / "three.parquet", ["a", "b", "a", "c", "a"]), tmp_path)
    assert (load.requests, load.tenants) == (3, ("a", "b"))


def test_the_size_of_a_replay_is_the_requests_that_are_asked_for(
    tmp_path: Path, scenario: Scenario
) -> None:
    load = pack(BURSTY, tmp_path)
    replayed = replaying(scenario, load, Replay(2000))
    assert expected_requests(replayed) == 2000
    check_size(replayed, 100)
    with pytest.raises(UserError, match="replay fewer requests of the trace"):
        check_size(replayed, 101)


def test_scenarios_of_other_traces_or_divisions_are_not_equal(
    tmp_path: Path, scenario: Scenario
) -> None:
    load = pack(BURSTY, tmp_path)
    how = Replay(100)
    one = replaying(scenario, load, how)
    assert replaying(scenario, load, how) == one
    assert replaying(scenario, load, replace(how, division=BUSIEST)) != one
    assert replaying(scenario, replace(load, digest="another"), how) != one


def test_a_scenario_that_names_tenants_which_are_not_there_is_told_in_a_sentence(
    tmp_path: Path, scenario: Scenario
) -> None:
    limits = {"free-0119": {"rps": 1.0}}
    strict = scenario.with_overrides({"gateway.rate_limits": limits})
    with pytest.raises(UserError, match=r"^chat\.parquet: cannot be the load.*free-0119"):
        replaying(strict, pack(CHAT, tmp_path), Replay(100))


def test_a_kept_run_has_its_trace_beside_it_and_runs_again_to_the_same_bytes(
    tmp_path: Path, scenario: Scenario
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    replayed = at(scratch, scenario, pack(CHAT, scratch), Replay(300))
    out = keep_run(scratch, silent, replayed, tmp_path / "runs" / "mine")
    assert (out / "chat-load.parquet").is_file()
    assert "trace: chat-load.parquet" in (out / "scenario.resolved.yaml").read_text()
    for left in scratch.iterdir():
        left.unlink()
    simulate(load_scenario(out / "scenario.resolved.yaml"), out=tmp_path / "again")
    name = "requests.parquet"
    assert (out / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_downloaded_trace_is_the_one_that_is_replayed(
    tmp_path: Path, scenario: Scenario
) -> None:
    load = pack(CHAT, tmp_path)
    how = Replay(300)
    replayed = at(tmp_path, scenario, load, how)
    run = Path(str(placed(tmp_path, replayed).workload.trace))
    assert replayed_trace(scenario, load, how) == run.read_bytes()


def test_a_load_of_its_own_is_left_alone(tmp_path: Path, scenario: Scenario) -> None:
    assert placed(tmp_path, scenario) is scenario
