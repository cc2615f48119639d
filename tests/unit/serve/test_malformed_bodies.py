"""Bodies that nobody would send on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simlora.serve.run import Service
from tests.unit.serve.embedding import engine, write_config, write_texts
from tests.unit.serve.embedding import service as embedded
from tests.unit.serve.service import chat, completion, scenario

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["pro-0000", "tiny-llama", "user", "text", 0.5, 1, 3, 300, 10**30]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "include_usage", "x"]), inner
        )
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    (
        "model",
        "prompt",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "stream",
        "stream_options",
        "ignore_eos",
        "user",
        "stop",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "logit_bias",
        "response_format",
    )
)
CHANGES = st.dictionaries(FIELDS, VALUES, max_size=4)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A good body with fields changed or taken away, and sometimes bytes of it."""
    body = draw(st.sampled_from([completion(), chat(), {}])) | draw(CHANGES)
    for name in draw(st.lists(FIELDS, max_size=2)):
        body.pop(name, None)
    raw = json.dumps(body).encode()
    match draw(st.integers(0, 9)):
        case 0:
            cut = draw(st.integers(0, len(raw)))
            return raw[:cut] + draw(st.binary(max_size=4)) + raw[cut:]
        case 1:
            return raw[: draw(st.integers(0, len(raw)))]
        case 2:
            return draw(st.binary(max_size=40))
    return raw


class Caller:
    """Keeps one loop, and the service's replica in it, over all cases."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.loop = asyncio.new_event_loop()
        self.serving = self.loop.create_task(service.replica.run())
        transport = httpx.ASGITransport(service.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://here/v1/")

    def post(self, path: str, raw: bytes) -> httpx.Response:
        """Raises what the application raises."""
        call = asyncio.wait_for(self.client.post(path, content=raw), 30)
        response: httpx.Response = self.loop.run_until_complete(call)
        return response

    def close(self) -> None:
        self.service.replica.stop()
        self.loop.run_until_complete(asyncio.wait_for(self.serving, 30))
        self.loop.run_until_complete(self.client.aclose())
        self.loop.close()


def real(folder: Path) -> Service:
    """The same over the real engine."""
    write_texts(write_config(folder / "tiny-llama"))
    options = engine(max_model_len=64)
    return embedded(
        scenario(model=str(folder / "tiny-llama"), fleet=[{"gpu": "cpu"}], engine=options)
    )


@pytest.fixture(scope="module", params=["simulated", "embedded"])
def caller(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Caller]:
    simulated = request.param == "simulated"
    caller = Caller(Service(scenario()) if simulated else real(tmp_path_factory.mktemp("real")))
    yield caller
    caller.close()
    caller.service.replica.check()


def sound(response: httpx.Response) -> None:
    """An answer, or an error in OpenAI's form that is the client's."""
    assert response.status_code in (200, 400, 404)
    if response.status_code == 200:
        assert response.content
        return
    error: dict[str, Any] = response.json()["error"]
    assert sorted(error) == ["code", "message", "type"]
    assert error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 500


@given(bodies(), st.sampled_from(["completions", "chat/completions"]))
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_body_whatever_makes_the_server_fail(caller: Caller, raw: bytes, path: str) -> None:
    sound(caller.post(path, raw))
    assert not caller.serving.done()
