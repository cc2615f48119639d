"""A record is believed if a trusted key signed it, and where keys are trusted only then."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from simlora.errors import UserError
from simlora.registry.signing import new_keys
from simlora.registry.store import Registry
from tests.unit.registry.fleet import House, edit_json


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, trusting=("ops", "research"))


def refusal(house: House) -> str:
    with pytest.raises(UserError) as caught:
        house.load()
    return str(caught.value).removeprefix("support@v1: ")


def test_the_signer_is_who_owns_the_key(house: House) -> None:
    for number, name in enumerate(("ops", "research"), 1):
        record, _ = house.add(key=name, version=f"v{number}")
        assert record.signed_by == name
    assert house.load() == house.stored


def test_anybody_can_check_a_signature_with_the_public_key_alone(house: House) -> None:
    """The bytes that are signed are what the documentation says they are."""
    record, _ = house.add()
    public = load_pem_public_key((house.folder / "trusted" / "ops.pem").read_bytes())
    assert isinstance(public, ed25519.Ed25519PublicKey)
    assert record.signature is not None
    public.verify(bytes.fromhex(record.signature), record.signed_bytes())
    assert record.signed_bytes().startswith(
        b'{"adapter_id":"support","alpha":8.0,"base_model_hash"'
    )
    assert b'"signature"' not in record.signed_bytes()


def test_an_unsigned_record_is_refused_where_keys_are_trusted(house: House) -> None:
    house.add(key=None)
    assert refusal(house) == "signature: is missing; here all are to be signed"


def test_without_trusted_keys_none_is_asked_for(tmp_path: Path) -> None:
    house = House(tmp_path, trusting=())
    house.add(key=None)
    assert house.load() == house.stored


@pytest.mark.parametrize("gone", ["signature", "signed_by"])
def test_half_a_signature_is_none(house: House, gone: str) -> None:
    house.add()
    edit_json(house.stored / "record.json", **{gone: None})
    assert refusal(house) == "signature: has to come with signed_by, and signed_by with a signature"


def test_taking_the_signature_off_does_not_help_where_keys_are_trusted(house: House) -> None:
    house.add()
    edit_json(house.stored / "record.json", signature=None, signed_by=None, tenant="other")
    assert refusal(house) == "signature: is missing; here all are to be signed"


def test_a_key_of_another_name_is_not_its(house: House) -> None:
    house.add()
    edit_json(house.stored / "record.json", signed_by="research")
    assert refusal(house) == "signature: is not research's signature of this record"


def test_a_key_that_is_no_longer_trusted_is_not_believed(house: House) -> None:
    house.add()
    (house.folder / "trusted" / "ops.pem").unlink()
    assert refusal(house) == "signed_by: there is no trusted key of ops"


def test_another_key_under_the_trusted_name_is_noticed(house: House) -> None:
    house.add()
    _, public = new_keys(house.path / "forged", "ops")
    shutil.copy(public, house.folder / "trusted" / "ops.pem")
    assert refusal(house) == "signature: is not ops's signature of this record"


def test_trusted_keys_may_lie_where_writers_of_the_registry_cannot_reach(house: House) -> None:
    house.add()
    keys = house.path / "elsewhere"
    shutil.copytree(house.folder / "trusted", keys)
    private, public = new_keys(house.path / "mallory", "mallory")
    shutil.copy(public, house.folder / "trusted")
    house.keys["mallory"] = private
    house.add(key="mallory", version="v2")
    hashes = {"base_model_hash": house.base.sha256}
    registry = Registry.open(house.folder, trusted=keys)
    assert registry.checked("support", "v1", **hashes) == house.stored
    with pytest.raises(UserError, match="there is no trusted key of mallory"):
        registry.checked("support", "v2", **hashes)


# --- keys ----------------------------------------------------------------------------------


def test_only_its_owner_can_read_a_new_private_key(tmp_path: Path) -> None:
    private, public = new_keys(tmp_path / "keys", "ops")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert b"PRIVATE" not in public.read_bytes()
    with pytest.raises(UserError, match="is there already"):
        new_keys(tmp_path / "keys", "ops")


@pytest.mark.parametrize("name", ["../ops", "", "a b"])
def test_a_signer_is_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="a signer's name must be made of letters"):
        new_keys(tmp_path, name)


def test_a_key_that_nobody_trusts_does_not_sign(house: House) -> None:
    house.keys["mallory"], _ = new_keys(house.path / "mallory", "mallory")
    with pytest.raises(UserError, match="is none of the keys that are trusted"):
        house.add(key="mallory")


@pytest.mark.parametrize("kind", ["missing", "text", "public", "encrypted", "other"])
def test_what_is_no_private_key_is_named(house: House, kind: str) -> None:
    path = house.path / "wrong.key"
    encoding, form = Encoding.PEM, PrivateFormat.PKCS8
    if kind == "text":
        path.write_text("secret")
    elif kind == "public":
        shutil.copy(house.folder / "trusted" / "ops.pem", path)
    elif kind == "encrypted":
        lock = BestAvailableEncryption(b"secret")
        path.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(encoding, form, lock))
    elif kind == "other":
        key = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(key.private_bytes(encoding, form, NoEncryption()))
    house.keys["wrong"] = path
    said = {
        "missing": "cannot be read: No such file",
        "text": "is no private key in PEM format",
        "public": "is no private key in PEM format",
        "encrypted": "is encrypted",
        "other": "of another kind than Ed25519",
    }
    with pytest.raises(
        UserError, match=f"wrong.key: {said[kind]}" if kind != "other" else said[kind]
    ):
        house.add(key="wrong")


@pytest.mark.parametrize("content", ["", "secret", "private"])
def test_a_trusted_key_that_is_none_is_named_and_not_believed(house: House, content: str) -> None:
    house.add()
    path = house.folder / "trusted" / "ops.pem"
    path.write_bytes(house.keys["ops"].read_bytes() if content == "private" else content.encode())
    assert refusal(house) == f"signed_by: {path}: is no public key in PEM format"
