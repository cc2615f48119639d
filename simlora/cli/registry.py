"""`simlora registry`: which adapters may be served, and whether they still are what they were."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from simlora.cli.progress import counting
from simlora.errors import UserError

if TYPE_CHECKING:
    from simlora.registry.record import Record
    from simlora.registry.store import Entry

_path = click.Path(path_type=Path)
_registry_option = click.option(
    "--registry", "folder", type=_path, required=True, metavar="DIR", help="The registry's folder."
)
_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON instead of a table."
)


@click.group()
def registry() -> None:
    """Keep the adapters that may be served: files, records and signatures."""


@registry.command()
@click.argument("adapter", metavar="ADAPTER_DIR", type=_path)
@_registry_option
@click.option("--id", "adapter_id", required=True, metavar="NAME", help="The adapter's name.")
@click.option("--tenant", required=True, metavar="NAME", help="Whose it is.")
@click.option("--version", required=True, metavar="NAME", help="Its version, such as v3.")
@click.option(
    "--base-model",
    required=True,
    metavar="DIR|SHA256",
    help="The base model: a folder with config.json and safetensors, or its hash.",
)
@click.option("--tokenizer", type=_path, help="The tokenizer (default: the base's tokenizer.json).")
@click.option(
    "--trained-at", metavar="TIME", help="ISO 8601, such as 2026-05-01T12:00; UTC by default."
)
@click.option("--promoted-at", metavar="TIME", help="When it was let into production.")
@click.option(
    "--eval",
    "scores",
    metavar="NAME=SCORE",
    multiple=True,
    help="A score of an evaluation (may be repeated).",
)
@click.option("--flag", "flags", metavar="NAME", multiple=True, help="A compliance flag, as hipaa.")
@click.option("--retain-until", metavar="DATE", help="The last day on which it may be kept.")
@click.option("--training-data-hash", metavar="SHA256", help="What it was trained on.")
@click.option("--key", type=_path, help="A private key to sign the record with (PEM, Ed25519).")
def add(
    adapter: Path,
    folder: Path,
    base_model: str,
    tokenizer: Path | None,
    scores: tuple[str, ...],
    flags: tuple[str, ...],
    retain_until: str | None,
    key: Path | None,
    **plain: str | None,
) -> None:
    """Check the PEFT adapter in ADAPTER_DIR and copy it into a registry, with a record of it.

    If the version is there already, with the same files, its record is written anew.
    """
    from simlora.registry.add import add as put
    from simlora.registry.base_model import base_model as base_model_of
    from simlora.registry.hashes import file_sha256, user_cache
    from simlora.registry.store import Registry

    about: dict[str, Any] = {
        **plain,
        "eval_scores": dict(map(_score, scores)),
        "compliance_flags": sorted(set(flags)),
        "retention_policy": None if retain_until is None else {"until": retain_until},
    }
    if tokenizer is not None:
        about["tokenizer_hash"] = file_sha256(tokenizer)
    _make(folder)
    base = base_model_of(base_model, user_cache())
    record, outcome = put(Registry.open(folder), adapter, base, about, key)
    signed = f"signed by {record.signed_by}" if record.signed_by else "not signed"
    click.echo(f"{record.adapter_id}@{record.version}: {outcome.value}, {signed}")


@registry.command()
@click.argument("which", metavar="[ID[@VERSION]]", required=False)
@_registry_option
@click.option(
    "--base-model",
    "bases",
    metavar="DIR|SHA256",
    multiple=True,
    help="The base model that they are to be served with (may be repeated).",
)
@click.option("--tokenizer", type=_path, help="The tokenizer (default: the base's tokenizer.json).")
@click.option("--trusted", type=_path, help="The folder of public keys (default: DIR/trusted).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of lines.")
def verify(
    which: str | None,
    folder: Path,
    bases: tuple[str, ...],
    tokenizer: Path | None,
    trusted: Path | None,
    as_json: bool,
) -> int:
    """Tell what is wrong with the adapters of a registry: exit code 1 and a line each.

    Files have to have the hashes of their records, records a signature by a trusted key (if there
    is any), and config and tensors the rank, targets, scale and base that the records tell of.
    """
    from simlora.registry.base_model import base_model as base_model_of
    from simlora.registry.hashes import file_sha256, user_cache
    from simlora.registry.store import Registry
    from simlora.registry.verify import problems

    opened = Registry.open(folder, trusted=trusted)
    adapter_id, _, version = (which or "").partition("@")
    entries = opened.entries(adapter_id, version or None) if which else opened.entries()
    models = [base_model_of(base, user_cache()) for base in bases]
    tokenizer_hash = None if tokenizer is None else file_sha256(tokenizer)
    found = [("", problem) for problem in ([] if which else opened.strays())]
    for entry in entries:
        wrong = problems(entry, opened.trusted, models, tokenizer_hash)
        found += [(str(entry), problem) for problem in wrong]
    if as_json:
        lines = [{"adapter": name or None, "problem": problem} for name, problem in found]
        _print_json({"adapters": len(entries), "problems": lines})
    elif found:
        for name, problem in found:
            click.echo(f"{name}: {problem}" if name else problem)
    else:
        click.echo(f"{len(entries)} {'version is' if len(entries) == 1 else 'versions are'} good")
    return 1 if found else 0


@registry.command()
@_registry_option
@click.option(
    "--max-rank",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Ranks above this are told of.",
)
@click.option(
    "--z-limit",
    type=click.FloatRange(min=0, min_open=True),
    help="How far from the fleet's median a norm may be, in robust standard deviations of its "
    "logarithm (default: 6, which one of 50 audits of sound adapters exceeds at most).",
)
@_json_option
def audit(folder: Path, max_rank: int, z_limit: float | None, as_json: bool) -> None:
    """Tell which adapters want a look: damaged, NaN, of a norm far from the others' of their base
    model, of a high rank, kept too long, unsigned or never promoted."""
    from dataclasses import asdict

    from simlora.registry.audit import audit as look
    from simlora.registry.norms import LEAST_FLEET, Z_LIMIT
    from simlora.registry.store import Registry

    limit = Z_LIMIT if z_limit is None else z_limit
    if not math.isfinite(limit):
        raise UserError(f"--z-limit must be a finite number, not {limit}")
    opened = Registry.open(folder)
    total = len(opened.entries())
    today = datetime.now(UTC).date()
    with counting(total) as progress:
        found = look(opened, today, max_rank=max_rank, z_limit=limit, progress=progress)
    if as_json:
        entries = [asdict(finding) for finding in found]
        _print_json({"adapters": total, "z_limit": limit, "findings": entries})
        return
    from rich.console import Console

    from simlora.cli.registry_tables import audit_table

    Console().print(audit_table(found, total, limit, LEAST_FLEET))


@registry.command(name="list")
@_registry_option
@_json_option
def list_(folder: Path, as_json: bool) -> int:
    """Tell which versions of which adapters there are, as their records say.

    A version whose record cannot be read is told of with what is wrong: its row, or JSON object of
    adapter_id, version and problem. Then the exit code is 1.
    """
    from simlora.registry.store import Registry

    rows = [(entry, _record(entry)) for entry in Registry.open(folder).entries()]
    code = 1 if any(isinstance(record, str) for _, record in rows) else 0
    if as_json:
        _print_json([_fields(*row) for row in rows])
        return code
    from rich.console import Console

    from simlora.cli.registry_tables import list_table

    Console().print(list_table(rows))
    return code


@registry.command()
@click.option("--new", "folder", type=_path, required=True, metavar="DIR", help="Where to write.")
@click.option("--name", required=True, metavar="NAME", help="Whose key it is.")
def keys(folder: Path, name: str) -> None:
    """Make a key to sign records with. Who has NAME.key can sign; whose NAME.pem lies in the
    folder `trusted` of a registry is believed there."""
    from simlora.registry.signing import new_keys

    private, public = new_keys(folder, name)
    click.echo(f"{private}: the private key, to be kept secret")
    click.echo(f"{public}: the public key, to be copied into the folder trusted of a registry")


def _record(entry: Entry) -> Record | str:
    """The record, or what is wrong with it."""
    try:
        return entry.record
    except UserError as error:
        return str(error)


def _fields(entry: Entry, record: Record | str) -> dict[str, Any]:
    if isinstance(record, str):
        return {"adapter_id": entry.adapter_id, "version": entry.version, "problem": record}
    return record.model_dump(mode="json")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}") from None


def _score(text: str) -> tuple[str, float]:
    name, _, score = text.partition("=")
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not name or not math.isfinite(value):
        raise UserError(f'--eval takes NAME=SCORE, such as rouge_l=0.41, not "{text}"')
    return name, value


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False))
