"""What is wrong with events, autoscaling, admission or timeouts is told in one sentence."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from simlora.cli.main import main
from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario

# A good scenario; a case replaces one line of it.
GOOD = """\
name: good
model: tiny-llama
fleet:
  - {gpu: a10g, replicas: 3, region: eu, autoscale: {min: 0, initial: 2}}
  - {gpu: a10g, region: us}
tenants:
  - {name: pro, tier: gold}
  - {name: lab, adapters: 2}
workload: {rate_rps: 3, duration_s: 1}
gateway: {admission: {max_queue: {gold: 3}}, timeouts_s: {gold: 9}, on_replica_loss: fail}
tiers: {gold: {}}
events:
  - {crash: 3, at_s: 0, duration_s: 1}
"""


def with_line(number: int, text: str) -> str:
    lines = GOOD.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


def write(directory: Path, text: str) -> Path:
    path = directory / "bad.yaml"
    path.write_text(text)
    return path


def test_the_good_scenario_is_good(tmp_path: Path) -> None:
    assert len(expand(load_scenario(write(tmp_path, GOOD))).scenario.events) == 1


@pytest.mark.parametrize(
    "event",
    [
        "{region_outage: eu, at_s: 0.5, duration_s: 1}",
        "{slow_gpu: 3, factor: 1, at_s: 0.9, duration_s: 9}",
        "{store_outage: true, at_s: 0, duration_s: 1}",
        "{corrupt_adapter: pro, at_s: 0, duration_s: 1}",
        "{corrupt_adapter: lab-0000/1, at_s: 0, duration_s: 1}",
        "{pool_leak: 0, gb_per_s: 0.1, at_s: 0, duration_s: 1}",
    ],
)
def test_events_of_every_kind_are_understood(tmp_path: Path, event: str) -> None:
    expand(load_scenario(write(tmp_path, with_line(13, f"  - {event}"))))


EU = "  - {gpu: a10g, replicas: 3, region: eu, autoscale: "
WHEN = ", at_s: 0, duration_s: 1}"
FIRST = "events.0"
WRONG_LINES: list[tuple[int, str, str, str]] = [
    # line, what stands there, the field that is named, what is said of it
    (13, "  - {crash: 4" + WHEN, f"{FIRST}.crash", "there is no replica 4: they count"),
    (13, "  - {crash: -1" + WHEN, f"{FIRST}.crash", "at least 0, not -1"),
    (13, "  - {crash: 1.5" + WHEN, f"{FIRST}.crash", "must be a whole number, not 1.5"),
    (13, "  - {crash: eu" + WHEN, f"{FIRST}.crash", 'whole number, not the text "eu"'),
    (13, "  - {crash: 0, at_s: -1, duration_s: 1}", f"{FIRST}.at_s", "at least 0, not -1"),
    (13, "  - {crash: 0, at_s: .inf, duration_s: 1}", f"{FIRST}.at_s", "inf"),
    (13, "  - {crash: 0, duration_s: 1}", f"{FIRST}.at_s", "is missing"),
    (13, "  - {crash: 0, at_s: 1}", f"{FIRST}.duration_s", "is missing"),
    (13, "  - {crash: 0, at_s: 1, duration_s: 0}", f"{FIRST}.duration_s", "greater than 0"),
    (13, "  - {crash: 0, factor: 2" + WHEN, f"{FIRST}.factor", "unknown field"),
    (13, "  - {crush: 0" + WHEN, FIRST, "crash"),
    (13, "  - {at_s: 0, duration_s: 1}", FIRST, "crash"),
    (
        13,
        "  - {crash: 0, at_s: 1, duration_s: 1}",
        f"{FIRST}.at_s",
        "workload.duration_s (1), not 1",
    ),
    (13, "  - {crash: 0, at_s: 700, duration_s: 1}", f"{FIRST}.at_s", "less than workload.dur"),
    (13, "  - crash", FIRST, "must be one of {crash: …}"),
    (13, "  - {region_outage: moon" + WHEN, f"{FIRST}.region_outage", "allowed: eu or us"),
    (13, "  - {region_outage: 3" + WHEN, f"{FIRST}.region_outage", "must be text, not 3"),
    (13, "  - {slow_gpu: 4, factor: 2" + WHEN, f"{FIRST}.slow_gpu", "no replica 4"),
    (13, "  - {slow_gpu: 0" + WHEN, f"{FIRST}.factor", "is missing"),
    (13, "  - {slow_gpu: 0, factor: 0.5" + WHEN, f"{FIRST}.factor", "at least 1, not 0.5"),
    (13, "  - {slow_gpu: 0, factor: 1001" + WHEN, f"{FIRST}.factor", "at most 1000, not 1001"),
    (13, "  - {store_outage: false" + WHEN, f"{FIRST}.store_outage", "not false"),
    (13, "  - {pool_leak: 9, gb_per_s: 1" + WHEN, f"{FIRST}.pool_leak", "no replica 9"),
    (13, "  - {pool_leak: 0, gb_per_s: 0" + WHEN, f"{FIRST}.gb_per_s", "greater than 0, not 0"),
    (13, "  - {pool_leak: 0" + WHEN, f"{FIRST}.gb_per_s", "is missing"),
    (4, EU + "{min: 4}}", "fleet.0.autoscale.min", "at most fleet.0.replicas (3), the most there"),
    (4, EU + "{initial: 4}}", "fleet.0.autoscale.initial", "at most fleet.0.replicas (3)"),
    (4, EU + "{min: 2, initial: 1}}", "fleet.0.autoscale", "initial (1) must be at least min (2)"),
    (4, EU + "{min: -1}}", "fleet.0.autoscale.min", "at least 0, not -1"),
    (4, EU + "{max: 3}}", "fleet.0.autoscale.max", "unknown field"),
    (4, EU + "{target_requests: 0}}", "fleet.0.autoscale.target_requests", "greater than 0"),
    (4, EU + "{interval_s: 0}}", "fleet.0.autoscale.interval_s", "greater than 0"),
    (4, EU + "{down_after_s: -1}}", "fleet.0.autoscale.down_after_s", "at least 0, not -1"),
    (4, EU + "{startup_s: -1}}", "fleet.0.autoscale.startup_s", "at least 0, not -1"),
    (4, EU + "3}", "fleet.0.autoscale", "must be a mapping of fields, not 3"),
    (10, "gateway: {timeouts_s: {gold: 0}}", "gateway.timeouts_s.gold", "greater than 0, not 0"),
    (10, "gateway: {timeouts_s: {gld: 5}}", "gateway.timeouts_s", "did you mean gold?"),
    (10, "gateway: {timeouts_s: 5}", "gateway.timeouts_s", "mapping"),
    (
        10,
        "gateway: {admission: {max_queue: {gold: -1}}}",
        "gateway.admission.max_queue.gold",
        "at least 0, not -1",
    ),
    (
        10,
        "gateway: {admission: {max_queue: {gld: 1}}}",
        "gateway.admission.max_queue",
        "did you mean gold?",
    ),
    (10, "gateway: {admission: {most: 3}}", "gateway.admission.most", "unknown field"),
    (
        10,
        "gateway: {admission: {retry_after_s: -1}}",
        "gateway.admission.retry_after_s",
        "at least 0, not -1",
    ),
    (10, "gateway: {on_replica_loss: again}", "gateway.on_replica_loss", "retry or fail"),
    (10, "gateway: {when_unavailable: hope}", "gateway.when_unavailable", "wait or reject"),
]


@pytest.mark.parametrize(("line", "text", "field", "said"), WRONG_LINES)
def test_a_wrong_line_is_named_with_its_field(
    tmp_path: Path, line: int, text: str, field: str, said: str
) -> None:
    path = write(tmp_path, with_line(line, text))
    with pytest.raises(UserError) as caught:
        expand(load_scenario(path))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    match = re.match(re.escape(str(path)) + r":(\d+): ([\w.-]+): ", sentence)
    assert match is not None, sentence
    assert int(match[1]) == line
    assert match[2].startswith(field), sentence
    assert said in sentence


KINDS = {
    "crash": "crash: 0",
    "region_outage": "region_outage: eu",
    "slow_gpu": "slow_gpu: 0, factor: 2",
    "store_outage": "store_outage: true",
    "corrupt_adapter": "corrupt_adapter: pro",
    "pool_leak": "pool_leak: 0, gb_per_s: 1",
}


@pytest.mark.parametrize(("one", "other"), list(combinations(KINDS, 2)))
def test_a_line_of_two_kinds_is_told_that_it_is_one_event(
    tmp_path: Path, one: str, other: str
) -> None:
    path = write(tmp_path, with_line(13, f"  - {{{KINDS[other]}, {KINDS[one]}{WHEN}"))
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    assert str(caught.value) == (
        f"{path}:13: events.0: names {one} and {other}, but one line is one event: "
        "give each a line of its own"
    )


def test_an_event_without_a_known_end_of_the_arrivals_may_come_at_any_time(tmp_path: Path) -> None:
    late = with_line(13, "  - {crash: 0, at_s: 1e6, duration_s: 1}")
    ended = "rate_rps: 3, duration_s: 1"
    drawn = write(tmp_path, late.replace(ended, "rate_rps: 3, max_requests: 5"))
    assert load_scenario(drawn).events[0].at_s == 1e6
    default = write(tmp_path, late.replace(ended, "rate_rps: 3"))
    with pytest.raises(
        UserError, match=r"events\.0\.at_s: must be less than .*\(600\), not 1e\+06"
    ):
        load_scenario(default)


@pytest.mark.parametrize("name", ["pr", "lab", "lab-0000", "lab-0000/2", "pro-0001"])
def test_a_damaged_adapter_must_be_there(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, with_line(13, f"  - {{corrupt_adapter: {name}{WHEN}"))
    with pytest.raises(UserError) as caught:
        expand(load_scenario(path))
    assert f'bad.yaml:13: {FIRST}.corrupt_adapter: no adapter "{name}"' in str(caught.value)
    assert "there is pro-0000 or lab-0000/0" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["  - {crash: 4" + WHEN, "  - {corrupt_adapter: pr" + WHEN, "  - {crush: 0" + WHEN]
)
def test_the_command_says_it_and_ends_with_2(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, with_line(13, text))
    assert main(["run", str(path), "--out", str(tmp_path / "out")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert FIRST in err
