"""Signatures of records: Ed25519 (RFC 8032), by the library `cryptography`.

A private key is a file of its owner. The public keys that a registry trusts lie in a folder, each
in a PEM file whose name is the signer's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from simlora.errors import UserError
from simlora.registry.record import Record
from simlora.scenario.field_types import Name
from simlora.scenario.wording import explain

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_LARGEST_KEY_BYTES = 10_000
_NEEDED = "signatures need the package cryptography; pip install 'simlora[registry]'"


def new_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair: `<name>.key`, which only its owner may read, and `<name>.pem`, the public
    one. Raises UserError if one of the files is there already."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            PublicFormat,
        )
    except ImportError:
        raise UserError(_NEEDED) from None
    _check_name(name)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    paths = folder / f"{name}.key", folder / f"{name}.pem"
    for path in paths:
        if path.exists():
            raise UserError(f"{path}: is there already; choose another name or folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, content, mode in zip(paths, (private, public), (0o600, 0o644), strict=True):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    return paths


def sign(record: Record, key: Path, trusted: Path) -> Record:
    """The record with the signature of this private key, and its owner's name from the folder of
    trusted keys. Raises UserError if the key cannot be read or its public one is not trusted."""
    private = _private_key(key)
    public = private.public_key().public_bytes_raw()
    names = [
        path.stem
        for path in trusted_keys(trusted)
        if _public_key(path).public_bytes_raw() == public
    ]
    if not names:
        raise UserError(
            f"{key}: is none of the keys that are trusted; put the public key of its owner into "
            f"{trusted}"
        )
    _check_name(names[0])
    named = record.model_copy(update={"signed_by": names[0], "signature": None})
    return named.model_copy(update={"signature": private.sign(named.signed_bytes()).hex()})


def trusted_keys(trusted: Path) -> list[Path]:
    """The files of the public keys in a folder; none if there is no such folder."""
    return sorted(trusted.glob("*.pem"))


def signature_problem(record: Record, trusted: Path) -> str | None:
    """Why the signature is not to be believed, or None. Where nobody is trusted, records need none;
    one that has a signer's name or a signature is held to it."""
    if record.signed_by is None and record.signature is None:
        return "signature: is missing; here all are to be signed" if trusted_keys(trusted) else None
    if record.signed_by is None or record.signature is None:
        return "signature: has to come with signed_by, and signed_by with a signature"
    path = trusted / f"{record.signed_by}.pem"
    if not path.is_file():
        return f"signed_by: there is no trusted key of {record.signed_by}"
    try:
        from cryptography.exceptions import InvalidSignature
    except ImportError:
        return f"signature: {_NEEDED}"
    try:
        public = _public_key(path)
        public.verify(bytes.fromhex(record.signature), record.signed_bytes())
    except UserError as error:
        return f"signed_by: {error}"
    except InvalidSignature:
        return f"signature: is not {record.signed_by}'s signature of this record"
    return None


def _check_name(name: str) -> None:
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        raise UserError(f"a signer's name {explain(error)[1]}") from None


def _private_key(path: Path) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise UserError(_NEEDED) from None
    content = _content(path)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise UserError(
            f"{path}: is encrypted; only private keys without a password are read"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"{path}: is no private key in PEM format") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"{path}: is a private key of another kind than Ed25519")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise UserError(_NEEDED) from None
    content = _content(path)
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"{path}: is no public key in PEM format") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"{path}: is a public key of another kind than Ed25519")
    return key


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_KEY_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
