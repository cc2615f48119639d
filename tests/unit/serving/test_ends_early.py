"""Answers that end before all the tokens that were asked for: as if no more had been asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from simlora.live.server import Server
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.page_pool import KV
from simlora.serving.request import COMPLETED, FAILED, RUNNING, Request
from tests.simulating import phases_s, small_scenario

STEP_S = 0.1
BLOCK_TOKENS = 16
LONG = 400  # tokens, that nobody says
PREEMPTING = {"memory": {"kv_cache_tokens": 1600}, "max_num_seqs": 16}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "short of memory": {"engine": PREEMPTING},
    "no prefix cache": {"engine": PREEMPTING | {"prefix_cache": {"enabled": False}}},
    "slots": {"engine": {"memory": {"mode": "slots", "max_loras": 2, "max_lora_rank": 16}}},
    "chunks by themselves": {"engine": PREEMPTING | {"scheduler": {"batching": "separate"}}},
    "virtual token counter": {"gateway": {"fairness": {"policy": "vtc"}}},
    "deficit round robin": {"engine": PREEMPTING, "gateway": {"fairness": {"policy": "drr"}}},
    "shortest job first": {"engine": PREEMPTING, "gateway": {"fairness": {"policy": "sjf"}}},
}


def scenario(**changes: Any) -> Scenario:
    engine = {"max_model_len": 640, "max_num_batched_tokens": 256} | changes.pop("engine", {})
    changes = {"timing": {"profile": "tests.timings:ConstantStep"}} | changes
    return small_scenario(engine=engine, **changes)


def crowd(count: int, longest: int, seed: int = 0) -> list[tuple[float, Request, int]]:
    """When requests come, and how many tokens of answer there are to each: `longest` are asked
    for, 0 says just those."""
    random = np.random.default_rng(seed)
    asked = []
    for number, at_s in enumerate(np.sort(random.uniform(0, 4, count)).tolist()):
        adapter, prompt = int(random.integers(-1, 4)), int(random.integers(1, 150))
        says = int(random.integers(1, 60))
        hashes = [1000 * adapter + block for block in range((prompt + says) // BLOCK_TOKENS)]
        request = Request(
            number,
            at_s,
            max(adapter, 0),
            0,
            adapter,
            prompt,
            longest or says,
            prefix_hashes=hashes,
        )
        asked.append((at_s, request, says))
    return asked


class Driven:
    """A server whose steps take `STEP_S` and whose transfers none, and which ends answers where
    they end."""

    def __init__(self, of: Scenario) -> None:
        deployment = expand(of)
        self.log = StepLog(len(deployment.tiers))
        self.ended: list[Request] = []
        self.server = Server(deployment, BLOCK_TOKENS, self.log, self.ended)
        self.scheduler = self.server.scheduler
        self.early: list[int] = []
        self.held: list[list[int]] = []  # pages, after each step
        self.now = 0.0

    def run(self, asked: Sequence[tuple[float, Request, int]]) -> None:
        """Serve requests to their ends, checking memory at every step boundary."""
        to_come, says = list(asked), {request.index: tokens for _, request, tokens in asked}
        while to_come or self.scheduler.outstanding:
            while to_come and to_come[0][0] <= self.now:
                at_s, request, _ = to_come.pop(0)
                self.server.receive(request, at_s)
            self._carry()
            if self.server.schedule(self.now) is None:
                self._carry()
                if not self.server.wants_step(self.now):
                    assert to_come
                    self.now = to_come[0][0]
                continue
            self.now += STEP_S
            self.server.complete(self.now, STEP_S, 0.0)
            for request in list(self.scheduler.running.values()):
                if request.finish_step < 0:
                    continue
                if self.scheduler.decodes.emitted_tokens(request) == says[request.index]:
                    self.early.append(request.index)
                    self.scheduler.withdrawals.end_early(request, self.now)
            self.scheduler.memory.check()
            self.held.append(list(self.scheduler.memory.pool.held))

    def _carry(self) -> None:
        while self.server.orders:
            number, _ = self.server.orders.pop(0)
            self.server.transfer_done(number, self.now)

    def outcome(self) -> list[Mapping[str, Any]]:
        """All that became of each request."""
        kept = set(Request.__slots__) - {"adapter_state", "prefix_nodes", "finish_step"}
        by_arrival = sorted(self.ended, key=lambda request: request.index)
        return [{name: getattr(request, name) for name in kept} for request in by_arrival]


@pytest.mark.parametrize("case", CASES)
def test_who_ends_early_ends_as_one_who_asked_for_no_more(case: str) -> None:
    """Every phase, page, cached prefix and meter, and those of everybody else."""
    of = scenario(**CASES[case])
    early, normal = Driven(of), Driven(of)
    early.run(crowd(40, LONG))
    normal.run(crowd(40, 0))
    assert len(early.early) == 40
    assert not normal.early
    if "short of memory" in case:
        assert early.scheduler.preemptions > 0
    assert early.outcome() == normal.outcome()
    assert early.held == normal.held
    for name in ("step_s", "steps", "gaps", "decode_starts", "decode_ends"):
        assert getattr(early.log, name) == getattr(normal.log, name), name
    assert early.scheduler.phases.adapter_wait_s == normal.scheduler.phases.adapter_wait_s


@pytest.mark.parametrize("admission", ["first_chunk", "whole_prompt", "whole_request"])
def test_early_ends_keep_all_pages_and_seconds_accounted_for(admission: str) -> None:
    """Also where memory is kept for what was asked for, and is to be free for others again."""
    of = scenario(engine=PREEMPTING | {"scheduler": {"admission": admission}})
    driven = Driven(of)
    driven.run(crowd(60, 200, seed=1))
    assert [request.status for request in driven.ended] == [COMPLETED] * 60
    for request in driven.ended:
        assert phases_s(request) == pytest.approx(request.finish_s - request.arrival_s, abs=1e-9)
        assert request.output_tokens == request.emitted_tokens
    scheduler = driven.scheduler
    assert scheduler.memory.pool.held[KV] == 0
    assert (scheduler.outstanding, scheduler.reserved_blocks, len(scheduler.queue)) == (0, 0, 0)
    assert scheduler.shape.decode_seqs == scheduler.shape.distinct_adapters == 0
    assert scheduler.shape.decode_attended_tokens == scheduler.shape.lora_token_parameters == 0


def decoding() -> tuple[Driven, Request]:
    """A request that has had its first tokens."""
    driven, request = Driven(scenario()), Request(0, 0.0, 0, 0, -1, 20, 50)
    driven.server.receive(request, 0.0)
    for step in range(1, 4):
        assert driven.server.schedule(driven.now) is not None
        driven.now = step * STEP_S
        driven.server.complete(driven.now, STEP_S, 0.0)
    return driven, request


def test_the_tokens_of_an_early_end_are_those_that_there_were() -> None:
    driven, request = decoding()
    driven.scheduler.withdrawals.end_early(request, driven.now)
    assert driven.ended == [request]
    assert (request.status, request.output_tokens, request.emitted_tokens) == (COMPLETED, 3, 3)
    assert request.finish_s == pytest.approx(0.3)
    assert driven.server.schedule(driven.now) is None
    driven.scheduler.memory.check()


def test_whose_client_leaves_at_the_same_boundary_ends_once() -> None:
    driven, request = decoding()
    driven.server.give_up(request, "disconnected", driven.now)
    driven.scheduler.withdrawals.end_early(request, driven.now)
    assert driven.server.schedule(driven.now) is None
    assert (driven.ended, request.status) == ([request], COMPLETED)
    driven.scheduler.memory.check()


def test_who_is_not_decoding_cannot_end_early() -> None:
    driven, request = decoding()
    waiting = Request(1, 0.3, 0, 0, -1, 20, 50)
    driven.server.receive(waiting, driven.now)
    with pytest.raises(ValueError, match="request 1 is not decoding"):
        driven.scheduler.withdrawals.end_early(waiting, driven.now)
    driven.server.give_up(request, "timeout", driven.now)
    driven.server.schedule(driven.now)
    assert (request.status, waiting.status) == (FAILED, RUNNING)
    for ended_or_prefilling in (request, waiting):
        with pytest.raises(ValueError, match="is not decoding"):
            driven.scheduler.withdrawals.end_early(ended_or_prefilling, driven.now)
