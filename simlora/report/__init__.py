"""Figures and the HTML report of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simlora.report.html import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    """Loaded when first used: who wants a colour or a word of the report needs no matplotlib."""
    if name != "write_report":
        raise AttributeError(f"module 'simlora.report' has no attribute {name!r}")
    from simlora.report.html import write_report

    return write_report
