"""What in a registry wants a look: adapters that are damaged, stand out, or were forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from simlora.errors import UserError
from simlora.registry.adapter_files import read_adapter
from simlora.registry.norms import Z_LIMIT, Norms, Outlier, outliers, update_norms
from simlora.registry.record import Record
from simlora.registry.store import Entry, Registry

MAX_RANK = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one version of an adapter."""

    adapter_id: str
    version: str
    kind: str  # damaged, norm, zero, rank, retention, unsigned, not_promoted
    detail: str  # a sentence without its end


def audit(
    registry: Registry,
    today: date,
    *,
    max_rank: int = MAX_RANK,
    z_limit: float = Z_LIMIT,
    progress: Callable[[int], None] | None = None,
) -> list[Finding]:
    """What is to be said of each version, in the order of names.

    `damaged` are files that cannot be read, do not fit each other, or hold NaN or infinity; `norm`
    are adapters that stand out of those of their base model by more than `z_limit` (see `norms`),
    `zero` those that change nothing. `progress` is told how many versions are read. Hashes and
    signatures are not checked: that is what `verify` is for.
    """
    found: dict[Entry, list[Finding]] = {}
    fleets: dict[str, list[tuple[Entry, Norms]]] = defaultdict(list)
    for number, entry in enumerate(registry.entries(), 1):
        findings = found[entry] = []
        try:
            record = entry.record
            findings += _about(entry, record, today, max_rank)
            norms = update_norms(read_adapter(entry.folder, None))
        except UserError as error:
            findings.append(_finding(entry, "damaged", str(error)))
        else:
            fleets[record.base_model_hash].append((entry, norms))
            if not any(norms.values()):
                findings.append(_finding(entry, "zero", "B A is zero in all modules"))
        if progress is not None:
            progress(number)
    for fleet in fleets.values():
        for outlier in outliers([norms for _, norms in fleet], z_limit):
            entry = fleet[outlier.adapter][0]
            found[entry].append(_finding(entry, "norm", _words(outlier)))
    return [finding for findings in found.values() for finding in findings]


def _about(entry: Entry, record: Record, today: date, max_rank: int) -> list[Finding]:
    """What the record alone says."""
    found = []
    if record.rank > max_rank:
        found.append(_finding(entry, "rank", f"rank {record.rank} is above {max_rank}"))
    if record.retention_policy is not None and record.expired(today):
        until = record.retention_policy.until
        found.append(_finding(entry, "retention", f"was to be kept until {until} only"))
    if record.signature is None:
        found.append(_finding(entry, "unsigned", "has no signature"))
    if record.promoted_at is None:
        found.append(_finding(entry, "not_promoted", "was never promoted"))
    return found


def _words(outlier: Outlier) -> str:
    others = f" and {outlier.modules - 1} more" if outlier.modules > 1 else ""
    return (
        f"layer {outlier.layer} {outlier.module}{others}: norm {outlier.norm:.3g}, the fleet's "
        f"median is {outlier.median:.3g} (robust z {outlier.z:+.1f})"
    )


def _finding(entry: Entry, kind: str, detail: str) -> Finding:
    return Finding(entry.adapter_id, entry.version, kind, detail)
