"""A scenario as text that a browser can hold: YAML to keep, and a code short enough for a link."""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from simlora.dashboard.limits import check_self_contained
from simlora.errors import UserError
from simlora.scenario import yamltext
from simlora.scenario.loading import load_scenario
from simlora.scenario.schema import Engine, Scenario

LINK = "this link"
_MOST_BYTES = 200_000
# What most scenarios say: with it as zlib's dictionary a link is half as long. Old links need it
# as it was, so it is only ever to be extended at the front.
_COMMON = (
    b'"adapters":{"warm":{"capacity_gb":"nvme":{"bandwidth_gbps":"gateway":{"routing":'
    b'"adapter_affinity"},"fairness":{"policy":"wfq"},"engine":{"max_model_len":4096,'
    b'"max_num_seqs":"max_num_batched_tokens":"memory":{"mode":"slots","max_loras":,'
    b'"max_lora_rank":"hot":{"max_adapters":,"eviction":"s3-fifo","popularity":{"zipf":'
    b'"prompt_tokens":{"lognormal":{"mean":300.0,"sigma":0.8,"min":4,"max":2048}},'
    b'"output_tokens":{"lognormal":{"mean":120.0,"sigma":0.7,"min":2,"max":1024}}},'
    b'"tiers":{"gold":{"weight":8.0,"sla":{"ttft_p99_s":0.2},"price_usd_month":300.0},'
    b'{"name":"what-if","model":{"name":"llama-3.1-8b"},"fleet":[{"gpu":"l40s","replicas":2}],'
    b'"tenants":[{"name":"free","count":120,"tier":"free","adapter":{"rank":16}}],'
    b'"workload":{"duration_s":240.0,"rate_rps":8.0'
)


def scenario_from_text(text: str, source: str) -> Scenario:
    """The scenario in a YAML text that came from elsewhere; `source` names it in errors.

    Raises UserError, also where the scenario names a file or a class.
    """
    data, _ = yamltext.parse(text, source)
    check_self_contained(data, source)
    with TemporaryDirectory(prefix="simlora-dashboard-") as scratch:
        file = Path(scratch) / "scenario.yaml"
        file.write_text(text, encoding="utf-8")
        try:
            return load_scenario(file)
        except UserError as error:
            raise UserError(str(error).replace(str(file), source)) from None


def scenario_from_bytes(raw: bytes, source: str) -> Scenario:
    """The same of an uploaded file."""
    if len(raw) > _MOST_BYTES:
        raise UserError(f"{source}: is larger than {_MOST_BYTES:,} bytes, so it is no scenario")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{source}: is not UTF-8 text, so it is no scenario file") from None
    return scenario_from_text(text, source)


def as_yaml(scenario: Scenario) -> str:
    """YAML without the defaults, that loads back as an equal scenario."""
    return yamltext.dump(plain(scenario))


def as_code(scenario: Scenario) -> str:
    """Text for a link's query, that `from_code` turns back into an equal scenario."""
    compact = json.dumps(plain(scenario), separators=(",", ":"), ensure_ascii=False)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _COMMON)
    packed = packer.compress(compact.encode()) + packer.flush()
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def from_code(code: str) -> Scenario:
    """The scenario in a link. Raises UserError if it is damaged or no longer valid."""
    unpacker = zlib.decompressobj(-15, _COMMON)
    try:
        packed = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
        raw = unpacker.decompress(packed, _MOST_BYTES)
        if not unpacker.eof:
            raise UserError(f"{LINK}: is not whole; ask for it anew")
        text = yamltext.dump(json.loads(raw))
    except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{LINK}: is damaged, so it restores no scenario") from None
    return scenario_from_text(text, LINK)


def plain(scenario: Scenario) -> dict[str, Any]:
    """The scenario's fields that are not at their defaults, as plain data."""
    data = scenario.model_dump(mode="json", exclude_defaults=True)
    preset = scenario.engine.preset
    engine = _apart(
        scenario.engine.model_dump(mode="json"),
        Engine.model_validate({"preset": preset}).model_dump(mode="json"),
    )
    if preset != Engine.model_fields["preset"].default:  # its defaults are other ones
        engine = {"preset": preset, **engine}
    data.pop("engine", None)
    return data | ({"engine": engine} if engine else {})


def _apart(given: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """The entries of `given` that `default` does not have alike."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        known = default.get(key)
        if value == known:
            continue
        if isinstance(value, dict) and isinstance(known, dict):
            value = _apart(value, known)
        found[key] = value
    return found
