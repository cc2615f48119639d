"""Who may ask for what."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.serve.keys import OPERATOR, hash_of, load_keys, new_key
from simlora.serve.run import Service, is_loopback
from tests.unit.serve.service import bearer, completion, keys_of, post, scenario, with_client


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(scenario(), keys_of(pro0=0, pro1=1, free=2, all=None))


def error(response: httpx.Response) -> str:
    """The code of an error, whose body must be OpenAI's form with one sentence."""
    told = response.json()["error"]
    assert sorted(told) == ["code", "message", "type"]
    assert told["message"]
    assert "\n" not in told["message"]
    return str(told["code"])


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "missing_api_key"),
        ({"authorization": "Basic c2s="}, "missing_api_key"),
        ({"authorization": "Bearer "}, "missing_api_key"),
        ({"authorization": "Bearer sk-nobody"}, "invalid_api_key"),
        ({"authorization": "Bearer sk-pro0 sk-pro1"}, "invalid_api_key"),
    ],
)
def test_without_a_known_key_nothing_is_answered(
    service: Service, headers: dict[str, str], code: str
) -> None:
    for path in ("completions", "chat/completions"):
        response = post(service, path, completion(), headers=headers)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert error(response) == code
    response = with_client(service, lambda client: client.get("models", headers=headers))
    assert response.status_code == 401


def test_another_tenants_adapter_is_not_there_like_one_that_nobody_has(service: Service) -> None:
    """A tenant learns nothing of who else is served."""
    names = ("pro-0000", "free-0000/0", "pro-0002")
    responses = [
        post(service, "completions", completion(model=name), headers=bearer("pro1"))
        for name in names
    ]
    assert {(r.status_code, error(r)) for r in responses} == {(404, "model_not_found")}
    told = {
        r.json()["error"]["message"].replace(name, "")
        for r, name in zip(responses, names, strict=True)
    }
    assert len(told) == 1


def test_ones_own_adapter_and_the_base_model_are_answered(service: Service) -> None:
    for model in ("free-0000/0", "free-0000/1", "tiny-llama"):
        body = completion(model=model)
        assert post(service, "completions", body, headers=bearer("free")).status_code == 200


def test_the_operator_may_ask_for_everything(service: Service) -> None:
    for model in ("pro-0000", "pro-0001", "free-0000/0"):
        body = completion(model=model)
        assert post(service, "completions", body, headers=bearer("all")).status_code == 200


def test_a_model_that_there_is_not_is_not_found(service: Service) -> None:
    response = post(service, "completions", completion(model="gpt"), headers=bearer("pro0"))
    assert (response.status_code, error(response)) == (404, "model_not_found")
    assert 'no "gpt"' in response.json()["error"]["message"]


def test_tenants_see_their_own_models_only(service: Service) -> None:
    async def names(client: httpx.AsyncClient) -> list[str]:
        response = await client.get("models", headers=bearer("pro1"))
        return [model["id"] for model in response.json()["data"]]

    assert with_client(service, names) == ["tiny-llama", "pro-0001"]


def test_metrics_are_the_operators(service: Service) -> None:
    async def statuses(client: httpx.AsyncClient) -> list[int]:
        asked = [bearer("all"), bearer("pro0"), {}]
        return [(await client.get("http://here/metrics", headers=h)).status_code for h in asked]

    assert with_client(service, statuses) == [200, 403, 401]


def test_a_request_for_the_base_model_counts_for_the_tenant_of_its_key() -> None:
    limited = scenario(gateway={"rate_limits": {"pro-0001": {"rps": 0.01}}})
    service = Service(limited, keys_of(pro0=0, pro1=1))
    body = completion(model="tiny-llama")

    async def statuses(client: httpx.AsyncClient, name: str) -> list[int]:
        ask = [await client.post("completions", json=body, headers=bearer(name)) for _ in "12"]
        return [response.status_code for response in ask]

    assert with_client(service, lambda client: statuses(client, "pro1")) == [200, 429]
    assert with_client(service, lambda client: statuses(client, "pro0")) == [200, 200]


def test_a_file_of_keys_is_read_and_a_new_key_is_known_by_its_hash(tmp_path: Path) -> None:
    deployment = expand(scenario())
    made = [new_key() for _ in range(4)]
    assert all(hash_of(key) == hashed for key, hashed in made)
    assert len({key for key, _ in made}) == 4
    file = tmp_path / "keys.yaml"
    file.write_text(
        f'pro-0001: ["{made[0][1]}", "{made[1][1]}"]\nfree: "{made[2][1]}"\n'
        f'"{OPERATOR}": "{made[3][1]}"\n'
    )
    keys = load_keys(file, deployment)
    assert [keys.owner(f"Bearer {key}") for key, _ in made] == [1, 1, 2, None]
    assert all(key not in file.read_text() for key, _ in made)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pro-0000: secret", "64 hexadecimal digits"),
        (f'nobody: "{"a" * 64}"', 'no tenant "nobody"'),
        ("[]", "must map"),
        (f'pro-0000: "{"a" * 64}"\npro-0001: "{"a" * 64}"', "another tenant's too"),
        ("pro-0000: [3]", "64 hexadecimal digits"),
        ("pro-0000: {", "keys.yaml:"),
    ],
)
def test_a_wrong_file_of_keys_is_refused_in_a_sentence(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=told):
        load_keys(file, expand(scenario()))


def test_only_addresses_of_this_machine_are_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [
        True
    ] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "10.0.0.1", "::", "example.org", "")] == [
        False
    ] * 5
