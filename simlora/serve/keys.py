"""API keys: whose they are. Only their hashes are kept."""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from pathlib import Path

from simlora.errors import UserError
from simlora.scenario import yamltext
from simlora.scenario.deployment import Deployment
from simlora.scenario.problems import did_you_mean
from simlora.serve.problems import FORBIDDEN, UNAUTHORIZED, Problem

# In place of a tenant's name: may ask in everybody's name, and read the metrics of all.
OPERATOR = "*"
_HASH = re.compile(r"[0-9a-f]{64}")


def new_key() -> tuple[str, str]:
    """A random key of 256 bits, and its hash."""
    key = f"sk-{secrets.token_urlsafe(32)}"
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """SHA-256 of a key in hexadecimal. A random key of this length needs no salt."""
    return sha256(key.encode()).hexdigest()


class Keys:
    """Tenants by the hash of their keys; None is the operator."""

    def __init__(self, owners: dict[str, int | None]) -> None:
        self._owners = owners

    def owner(self, authorization: str | None) -> int | None:
        """Whose key is in an Authorization header. Raises Problem (401)."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            message = "no API key: send it as Authorization: Bearer KEY"
            raise Problem(401, UNAUTHORIZED, message, "missing_api_key")
        # Found by its hash, whose characters tell nothing about how near a guess has come.
        hashed = hash_of(key.strip())
        if hashed not in self._owners:
            raise Problem(401, UNAUTHORIZED, "the API key is not known", "invalid_api_key")
        return self._owners[hashed]


def operators_only() -> Problem:
    """The answer to a tenant who asks for what all tenants do."""
    return Problem(403, FORBIDDEN, "only the operator's API key may read this", "operators_only")


def load_keys(path: Path, deployment: Deployment) -> Keys:
    """The keys of a YAML or JSON file that gives each tenant's name the hash of its key, or a list
    of several. Raises UserError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {reason}") from None
    data, lines = yamltext.parse(text, str(path))
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: must map the names of tenants to hashes of their API keys")
    owners: dict[str, int | None] = {}
    for name, hashes in data.items():
        where = f"{path}:{lines.get((name,), 1)}"
        owner = _tenant(str(name), deployment, where)
        for hashed in hashes if isinstance(hashes, list) else [hashes]:
            if not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
                raise UserError(
                    f"{where}: the hash of a key has 64 hexadecimal digits, in quotes; "
                    "simlora serve --new-key TENANT prints one"
                )
            if owners.setdefault(hashed, owner) != owner:
                raise UserError(f"{where}: the same key is another tenant's too")
    return Keys(owners)


def _tenant(name: str, deployment: Deployment, where: str) -> int | None:
    if name == OPERATOR:
        return None
    if name not in deployment.tenant_index:
        hint = did_you_mean(name, list(deployment.tenant_index))
        raise UserError(f'{where}: no tenant "{name}" in the scenario: {hint}')
    return deployment.tenant_index[name]
