"""What a registry says of one version of an adapter: `record.json`."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, ValidationError

from simlora.errors import UserError
from simlora.scenario.catalog.huggingface import read_json
from simlora.scenario.field_types import Name
from simlora.scenario.problems import dotted, given
from simlora.scenario.strict import Strict
from simlora.scenario.wording import explain

RECORD = "record.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")


def is_sha256(text: str) -> bool:
    """Whether a text is a SHA-256 as records write it: 64 hexadecimal digits, small letters."""
    return _SHA256.fullmatch(text) is not None


def _sha256(text: str) -> str:
    if not is_sha256(text):
        raise ValueError(f"must be 64 hexadecimal digits (0-9, a-f), not {given(text)}")
    return text


def _signature(text: str) -> str:
    if _SIGNATURE.fullmatch(text) is None:
        raise ValueError(f"must be 128 hexadecimal digits (0-9, a-f), not {given(text)}")
    return text


def _moment(told: Any) -> Any:
    """Files have moments as text, which the model by itself takes for a mistake. UTC where the
    text names no zone."""
    if not isinstance(told, str):
        return told
    try:
        moment = datetime.fromisoformat(told)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(
            f"must be a time such as 2026-05-01T12:00:00Z, not {given(told)}"
        ) from None


def _day(told: Any) -> Any:
    if not isinstance(told, str):
        return told
    try:
        return date.fromisoformat(told)
    except ValueError:
        raise ValueError(f"must be a date such as 2027-01-31, not {given(told)}") from None


def _utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie within the years 1 to 9999 in UTC") from None


Sha256 = Annotated[str, AfterValidator(_sha256)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_utc)]
Day = Annotated[date, BeforeValidator(_day)]
Score = Annotated[float, Field(allow_inf_nan=False)]


class Retention(Strict):
    """How long an adapter may be kept: to the end of the day `until`, in UTC."""

    until: Day


class Record(Strict):
    """One version of an adapter. Fields that are None were not told.

    Hashes are SHA-256 of a file's bytes, but `base_model_hash`, which covers a folder (see
    `hashes.base_model_hash`). `rank` is the highest of the adapter's modules, `target_modules` are
    the linear modules that it changes in some layer, and `alpha` is PEFT's `lora_alpha`. What else
    its config says is held by `config_sha256`.
    """

    format: Literal[1] = 1
    adapter_id: Name
    tenant: Name
    version: Name
    base_model_name: str | None
    base_model_hash: Sha256
    tokenizer_hash: Sha256 | None = None
    rank: Annotated[int, Field(ge=1)]
    target_modules: Annotated[list[str], Field(min_length=1)]
    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    file_sha256: Sha256
    config_sha256: Sha256
    trained_at: Moment | None = None
    promoted_at: Moment | None = None
    eval_scores: dict[str, Score] = Field(default_factory=dict)
    signed_by: Name | None = None
    retention_policy: Retention | None = None
    compliance_flags: list[Name] = Field(default_factory=list)
    training_data_hash: Sha256 | None = None
    signature: Annotated[str, AfterValidator(_signature)] | None = None

    def signed_bytes(self) -> bytes:
        """What a signature is made over: all fields but itself as JSON in UTF-8, with sorted keys
        and no white space."""
        fields = self.model_dump(mode="json", exclude={"signature"})
        text = json.dumps(
            fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()

    def file_bytes(self) -> bytes:
        """The record as a file."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, allow_nan=False) + "\n").encode()

    def expired(self, today: date) -> bool:
        """Whether the adapter should have been deleted by now."""
        return self.retention_policy is not None and self.retention_policy.until < today


def read_record(path: Path) -> Record:
    """Raises UserError if the file cannot be read or is no record."""
    fields = read_json(path, f"a {RECORD}")
    try:
        return Record.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{path}: {told(error)}") from None


def told(error: ValidationError) -> str:
    """Field and problem of the first finding."""
    field, problem = explain(error)
    return f"{dotted(field)}: {problem}"
