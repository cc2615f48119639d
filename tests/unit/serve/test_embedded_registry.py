"""Adapters of a registry behind the server: each is its own clients' trouble only."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.unit.live.registered_fleet import FAULTS, Fault, Fleet, tampered
from tests.unit.serve.calling import Call
from tests.unit.serve.embedding import completion, replica_of, service, text_of
from tests.unit.serve.service import running, until, with_client


@pytest.mark.parametrize("fault", FAULTS)
def test_what_the_registry_refuses_fails_its_own_requests_only(
    fault: Fault, tmp_path: Path
) -> None:
    fleet = Fleet(tmp_path)
    _, bad, _ = fleet.add_all(3)
    served = service(fleet.scenario(3), registry=fleet.folder)
    fault(fleet, bad)
    bodies = [completion([n, 8, 9], model=f"tenant-{n % 3:04}") for n in range(9)]

    async def act(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("completions", json=body) for body in bodies))

    for number, response in enumerate(with_client(served, act)):
        if number % 3 == 1:
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "adapter_load"
        else:
            assert len(text_of(response.json()).split()) == 8


def test_an_adapter_that_is_taken_out_of_service_answers_whom_it_has_begun_to(
    tmp_path: Path,
) -> None:
    """Its stream goes on to its end, later requests are refused, and the others' are not."""
    fleet = Fleet(tmp_path)
    first, _ = fleet.add_all(2)
    served = service(fleet.scenario(2), registry=fleet.folder)
    body = completion([1, 2, 3], max_tokens=90, stream=True)

    async def act() -> tuple[Call, list[Call]]:
        async with asyncio.timeout(60), running(served):
            begun = Call(served, body)
            answers = replica_of(served).answers
            await until(lambda: bool(answers) and answers[0].emitted > 3)
            tampered(fleet, first)
            other = Call(served, body | {"model": "tenant-0001"})  # makes the server look
            await other.task
            later = Call(served, body)
            await asyncio.gather(begun.task, later.task)
            return begun, [other, later]

    begun, (other, later) = asyncio.run(act())
    served.replica.check()
    assert begun.sent.count(b'"text":') == other.sent.count(b'"text":') == 90
    assert b"the adapter has been taken out of service" in later.sent


def test_what_a_registry_has_is_there_as_soon_as_it_is_copied(tmp_path: Path) -> None:
    """However far the scenario's store is."""
    fleet = Fleet(tmp_path)
    fleet.add_all(1)
    far = fleet.scenario(1).with_overrides({"adapters.store": {"latency_s": 10_000}})
    served = service(far, registry=fleet.folder)

    async def act(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("completions", json=completion([1, 2, 3]))

    assert with_client(served, act).status_code == 200
