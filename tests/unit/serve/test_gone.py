"""Clients that go away before they have their answers."""

from __future__ import annotations

import asyncio

import pytest

from simlora.serve.run import Service
from simlora.serving.page_pool import KV
from tests.unit.serve.calling import Call
from tests.unit.serve.service import completion, running, scenario, until

NO_CACHE = {"max_model_len": 512, "prefix_cache": {"enabled": False}}
LONG = completion(max_tokens=400, stream=True)


def idle(service: Service) -> bool:
    """Whether nothing of any request is left."""
    replica = service.replica
    scheduler = replica.server.scheduler
    nothing = not (replica.answers or scheduler.running or scheduler.waiting)
    return nothing and scheduler.memory.pool.held[KV] == 0


@pytest.mark.parametrize("stream", [True, False])
def test_the_memory_of_one_that_left_in_the_middle_is_free_again(stream: bool) -> None:
    service = Service(scenario(engine=NO_CACHE))

    async def act() -> None:
        async with running(service):
            call = Call(service, LONG | {"stream": stream})
            answers = service.replica.answers
            await until(lambda: bool(answers) and answers[0].emitted > 3)
            assert service.replica.server.scheduler.memory.pool.held[KV] > 0
            await call.go()
            await until(lambda: idle(service))
            service.replica.check()
            assert (call.sent.count(b"data: ") > 3) == stream

    asyncio.run(act())
    assert b'reason="disconnected"} 1.0' in service.metrics.text()


def test_one_that_left_while_it_waited_is_never_computed() -> None:
    service = Service(scenario(engine=NO_CACHE | {"max_num_seqs": 1}))

    async def act() -> None:
        async with running(service):
            first = Call(service, completion(max_tokens=60))
            answers = service.replica.answers
            await until(lambda: bool(answers) and answers[0].emitted > 0)
            second = Call(service, LONG)
            await until(lambda: len(answers) == 2)
            await second.go()
            assert len(answers) == 1
            await first.task
            await until(lambda: idle(service))
            service.replica.check()
            made = b'vllm:generation_tokens_total{model_name="tiny-llama"} 60.0'
            assert made in service.metrics.text()
            assert first.sent
            assert b"disconnected" in second.sent  # to nobody

    asyncio.run(act())


def test_one_that_left_while_the_gateway_held_it_back_takes_nothing() -> None:
    limit = {"rps": 0.5, "burst": 1, "over_limit": "delay"}
    service = Service(scenario(engine=NO_CACHE, gateway={"rate_limits": {"gold": limit}}))

    async def act() -> None:
        async with running(service):
            await Call(service, completion()).task
            held = Call(service, LONG)
            await until(lambda: len(service.replica.answers) == 1)
            await held.go()
            assert idle(service)

    asyncio.run(act())


def test_whoever_leaves_when_others_stay_takes_nothing_from_them() -> None:
    """Many come and go at random; those who stay get all that they asked for."""
    service = Service(scenario(engine=NO_CACHE | {"memory": {"kv_cache_tokens": 2048}}))

    async def act() -> None:
        async with running(service):
            calls = []
            for number in range(60):
                calls.append(Call(service, completion(max_tokens=40 + number, stream=True)))
                await asyncio.sleep(0.002)
                if number % 3 == 0:
                    await calls[number // 2].go()
            leavers = {calls[number // 2] for number in range(0, 60, 3)}
            stayers = [call for call in calls if call not in leavers]
            await asyncio.gather(*(call.task for call in stayers))
            await until(lambda: idle(service))
            service.replica.check()
            for call in stayers:
                assert call.sent.count(b'"text":') == 40 + calls.index(call)

    asyncio.run(act())
