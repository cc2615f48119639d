"""A server in this process: the real application over the real replica, without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx

from simlora.scenario.schema import Scenario
from simlora.serve.keys import Keys, hash_of
from simlora.serve.run import Service

_Outcome = TypeVar("_Outcome")


def scenario(**changes: Any) -> Scenario:
    """A tiny model and three tenants: two paying ones with an adapter each, and one who has two."""
    return Scenario.model_validate(
        {
            "name": "served",
            "model": "tiny-llama",
            "fleet": [{"gpu": "a10g"}],
            "tenants": [
                {"name": "pro", "count": 2, "tier": "gold", "adapter": {"rank": 8}},
                {"name": "free", "count": 1, "adapters": 2, "adapter": {"rank": 8}},
            ],
            "workload": {"rate_rps": 1.0, "output_tokens": {"fixed": 7}},
            "engine": {"max_model_len": 512},
            "timing": {"profile": "roofline"},
        }
        | changes
    )


def keys_of(**tenants: int | None) -> Keys:
    """Each tenant's key is its name in this call."""
    return Keys({hash_of(f"sk-{name}"): owner for name, owner in tenants.items()})


def bearer(name: str) -> dict[str, str]:
    """The header with a key of `keys_of`."""
    return {"authorization": f"Bearer sk-{name}"}


def completion(**changes: Any) -> dict[str, Any]:
    """The body of a small request."""
    body = {"model": "pro-0000", "prompt": "how are you", "max_tokens": 3, "ignore_eos": True}
    return body | changes


def chat(**changes: Any) -> dict[str, Any]:
    """The same as a chat."""
    messages = [{"role": "user", "content": "how are you"}]
    body = {"model": "pro-0000", "messages": messages, "max_tokens": 3, "ignore_eos": True}
    return body | changes


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service while its replica runs, which then serves what it has to the end."""
    serving = asyncio.create_task(service.replica.run())
    transport = httpx.ASGITransport(service.app)
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://here/v1/") as client:
            yield client
        service.replica.stop()
        await serving
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def with_client(
    service: Service, act: Callable[[httpx.AsyncClient], Awaitable[_Outcome]]
) -> _Outcome:
    """Run `act` with a client of the service; at the end the pool's pages must add up."""

    async def run() -> _Outcome:
        async with asyncio.timeout(60), running(service) as client:
            outcome = await act(client)
        service.replica.check()
        return outcome

    return asyncio.run(run())


def post(service: Service, path: str, body: Any, **more: Any) -> httpx.Response:
    """One request on its own."""
    return with_client(service, lambda client: client.post(path, json=body, **more))


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """The chunks of a stream, which must end as OpenAI's do."""
    *chunks, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that is bound to come."""
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.001)
