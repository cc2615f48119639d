"""Tables that `registry` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from simlora.registry.audit import Finding
    from simlora.registry.record import Record
    from simlora.registry.store import Entry


def list_table(rows: Sequence[tuple[Entry, Record | str]]) -> RenderableType:
    """A row a version; below them, what is wrong with those that have a sentence for a record."""
    if not rows:
        return Text("no adapters")
    table = _table("adapter", "version", "tenant", "base model", "rank", "signed by", "promoted")
    problems = []
    for entry, record in rows:
        if isinstance(record, str):
            table.add_row(*map(Text, (entry.adapter_id, entry.version, "unreadable")))
            problems.append(Text(f"{entry}: {record}"))
            continue
        promoted = "—" if record.promoted_at is None else f"{record.promoted_at:%Y-%m-%d}"
        cells = (
            record.adapter_id,
            record.version,
            record.tenant,
            f"{record.base_model_name or '—'} ({record.base_model_hash[:8]})",
            str(record.rank),
            record.signed_by or "—",
            promoted,
        )
        table.add_row(*map(Text, cells))
    return Group(table, Text(), *problems) if problems else table


def audit_table(
    findings: Sequence[Finding], total: int, z_limit: float, least_fleet: int
) -> RenderableType:
    """A row a finding, and how norms were judged."""
    judged = Text(
        f"{total} {'version' if total == 1 else 'versions'} looked at. A norm stands out if its "
        f"logarithm is more than {z_limit:g} robust standard deviations (1.4826 MAD) from the "
        f"median of the same module and base model, where {least_fleet} adapters or more have it.",
        style="dim",
    )
    if not findings:
        return Group(Text("nothing found"), judged)
    table = _table("adapter", "version", "finding", "")
    for each in findings:
        kind = each.kind.replace("_", " ")
        table.add_row(*map(Text, (each.adapter_id, each.version, kind, each.detail)))
    return Group(table, judged)


def _table(*heads: str) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold", justify="right" if head == "rank" else "left")
    return table
