"""A live run again in virtual time: the recorded times, the same decisions.

Nothing is computed and nothing waited for. The requests come from the scenario's traffic, and
everything that took time in the live run takes as long as it took there; what is decided is left to
the scheduler. That it decides the same, line by line, is what makes the simulation of a live run a
matter of timing alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from operator import itemgetter
from pathlib import Path

from simlora.live.limits import served_here
from simlora.live.records import (
    ARRIVAL,
    BESIDE,
    CUT,
    IDLE,
    LOAD,
    STEP,
    STOP,
    TIMER,
    TRANSFER,
    WITHDRAW,
    WITHOUT,
    Row,
    read_rows,
)
from simlora.live.server import Server
from simlora.results import files
from simlora.results.decision_file import first_difference, read_decisions
from simlora.results.decisions import Line
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.workload.blocks import Traffic
from simlora.workload.requests import requests_of
from simlora.workload.traffic import open_traffic


class Parted(Exception):
    """What happened in the record cannot happen after the decisions that were made."""


def replay(directory: str | Path) -> tuple[int, Line | None, Line | None] | None:
    """Replay the live run in a result directory. Returns the number of the first decision that is
    another one, with what was decided now and then, or None if there is none.

    Raises UserError if the directory is not that of a live run.
    """
    place = Path(directory)
    scenario = load_scenario(place / files.RESOLVED_SCENARIO)
    decided = decisions_of(scenario, read_rows(place / files.STEPS))
    return first_difference(decided, read_decisions(place / files.DECISIONS), with_times=True)


def decisions_of(
    scenario: Scenario, rows: Iterable[Row], traffic: Traffic | None = None
) -> Iterator[Line]:
    """The decisions about a scenario whose steps, loads and requests took the times in `rows`.
    They end early where the record cannot go on from them."""
    scenario, _ = served_here(scenario)
    deployment = expand(scenario)
    traffic = traffic or open_traffic(deployment)
    ended: list[Request] = []
    server = Server(deployment, traffic.prefix_block_tokens, StepLog(len(deployment.tiers)), ended)
    requests = requests_of(deployment, traffic)
    try:
        for now, begins, row in _instants(list(rows)):
            if row.kind == CUT:
                break
            _happen(server, requests, row, now, begins)
            # Nobody waits for these: their times are in the record.
            server.orders.clear()
            server.timers.clear()
            ended.clear()
            yield from server.decisions.drain()
    except Parted:
        yield from server.decisions.drain()


def _instants(rows: list[Row]) -> Iterator[tuple[float, bool, Row]]:
    """When something begins (steps) or is over, in order of time."""
    begins = sorted((row.start_s, True, row) for row in rows if row.kind == STEP)
    ends = sorted(((row.end_s, False, row) for row in rows), key=itemgetter(0))
    return merge(begins, ends, key=itemgetter(0))


def _happen(
    server: Server, requests: Iterator[Request], row: Row, now: float, begins: bool
) -> None:
    """What a row tells, at one of its instants. Raises Parted."""
    try:
        if row.kind == ARRIVAL:
            server.receive(next(requests), now)
        elif row.kind == TIMER:
            server.ring(row.number, now)
        elif row.kind == TRANSFER:
            server.transfer_done(row.number, now, failed=row.failed, final=row.final)
        elif row.kind == LOAD:
            server.load_failed(row.number, now)
        elif row.kind == WITHDRAW:
            server.withdraw(row.number, now)
        elif row.kind == STOP:
            server.stopped_retries = True
        elif row.kind == BESIDE:
            server.read_beside()
        elif row.kind == WITHOUT:
            server.begin_without(row.number)
        elif row.kind == IDLE or begins:
            if (server.schedule(now) is None) != (row.kind == IDLE):
                raise Parted
        else:
            server.complete(now, now - row.start_s, row.load_s)
    except (KeyError, StopIteration):  # a timer or transfer that was not asked for
        raise Parted from None
