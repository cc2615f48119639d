"""Whatever goes wrong, a decision log tells the end of every request once, and changes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given, settings

from simlora.results.decisions import Line
from simlora.scenario.deployment import expand
from simlora.serving.request import COMPLETED, FAILED, REJECTED
from simlora.sim.simulation import Simulation
from tests.property.cases import Case
from tests.property.disturbed import disturbed_cases
from tests.property.test_fast_forward import assert_same
from tests.simulating import Collector, Finished, run

ENDS = {COMPLETED: "finished", REJECTED: "turned_away", FAILED: "failed"}


def logged(case: Case) -> tuple[Finished, list[Line]]:
    lines: list[Line] = []
    collector = Collector(expand(case.scenario))
    simulation = Simulation(expand(case.scenario), case.traffic(), collector, log=lines.extend)
    simulation.run()
    collector.flush()
    requests = sorted(collector.done, key=lambda request: request.index)
    return Finished(requests, simulation, collector), lines


def test_every_request_has_its_end_in_the_log_once_and_fares_as_without_it() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150)
    @given(disturbed_cases())
    def agree(case: Case) -> None:
        finished, lines = logged(case)
        assert_same(run(case.scenario, case.traffic()), finished)
        ends: dict[int, list[Line]] = defaultdict(list)
        for line in lines:
            if line["decision"] in ENDS.values() and line.get("final") is not False:
                ends[line["request"]].append(line)
        for request in finished.requests:
            told = ends.pop(request.index, [])
            wanted = [ENDS[request.status]] if request.status in ENDS else []
            assert [line["decision"] for line in told] == wanted, request.index
            if request.status != COMPLETED and told:
                assert told[0]["reason"] == request.reason
            seen[wanted[0] if wanted else "unfinished"] += 1
        assert not ends
        assert not any(line["decision"] == "left" for line in lines), "why it left was not told"
        seen.update(line["decision"] for line in lines)
        members = finished.simulation.fleet.members
        for number, member in enumerate(members):
            mine = [
                line["step"]
                for line in lines
                if line["decision"] == "step" and line.get("replica", 0) == number
            ]
            done = sum(process.steps for process in member.lives)
            assert done <= len(mine) <= done + len(member.lives)

    agree()
    wanted = {*ENDS.values(), "unfinished", "held_back", "lost", "preempted", "fetch_started"}
    assert all(seen[what] for what in wanted), seen
