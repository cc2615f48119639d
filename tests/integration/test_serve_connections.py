"""Clients that would keep `simlora serve` busy without asking anything, over real HTTP."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.integration.served import LONG, SCENARIO, gauge, serving

HALF = b"POST /v1/completions HTTP/1.1\r\nhost: here\r\ncontent-length: 1000000\r\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "scenario.yaml"
    file.write_text(SCENARIO)
    return file


@pytest.mark.parametrize(
    ("first", "answered"),
    [
        (b"", b""),
        (HALF, b""),
        # A path that there is not is answered before the body has come.
        (HALF.replace(b"completions", b"nothing") + b"\r\n", b"HTTP/1.1 404 Not Found"),
    ],
    ids=["nothing", "half", "answered"],
)
@pytest.mark.parametrize("more", [b"", b"a: b\r\n"], ids=["silent", "dribbling"])
def test_a_connection_without_a_whole_request_does_not_stay(
    path: Path, first: bytes, answered: bytes, more: bytes
) -> None:
    """Whether its client is silent or sends a little now and then."""
    with serving(path, headers_s=1.0) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(first)
            told = b""
            client.settimeout(0.1 if more else 30)
            for _ in range(300):
                try:
                    if not (part := client.recv(4096)):
                        break
                    told += part
                except TimeoutError:
                    assert more, "it stays open"
                except ConnectionResetError:  # what was sent last came too late
                    break
                else:
                    continue
                with suppress(OSError):  # so does this
                    client.sendall(more)
            else:
                pytest.fail("it stays open")
            assert told.partition(b"\r\n")[0] == answered
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200


def test_bodies_and_answers_may_take_longer_than_headers(path: Path) -> None:
    """And so may several of them on one connection."""
    raw = json.dumps(LONG | {"max_tokens": 150}).encode()

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(raw), 10):
            yield raw[start : start + 10]
            time.sleep(3.0 * 10 / len(raw))

    with (
        serving(path, headers_s=2.0) as server,
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client,
    ):
        for _ in range(2):
            response = client.post("/v1/completions", content=slowly())
            assert response.json()["usage"]["completion_tokens"] == 150


def test_a_body_with_more_in_it_than_a_request_is_refused(path: Path) -> None:
    body = b'{"model": "tenant-0000", "prompt": "a", "unknown": [[]' + b",[]" * 10**6 + b"]}"
    with serving(path) as server:
        response = httpx.post(f"{server.url}/v1/completions", content=body, trust_env=False)
        assert response.status_code == 413
        assert response.json()["error"]["message"] == "the body has more than 231072 JSON values"
        assert gauge(server.url, "vllm:num_requests_running") == 0
