"""Pieces of HTML that all pages share: paragraphs, and tables that scroll where they are wide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

Row = Sequence[str]


def unbroken(text: str) -> str:
    """Keep figures and their units on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|µs|ms|s|min|h)\b|%)", "&nbsp;", text)


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{unbroken(escape(text))}</p>"


def table(kind: str, heads: Row, rows: Sequence[Row], label: str, *, named_by: int = 1) -> str:
    """A table that can be scrolled with the keyboard; heads and cells are HTML already, `label` is
    plain text for those who do not see it. The first `named_by` cells of a row are its heads."""
    body = "".join(_row(cells, named_by) for cells in rows)
    return _framed(kind, heads, f"<tbody>{body}</tbody>", label)


def grouped_table(
    kind: str, heads: Row, groups: Sequence[tuple[str, Sequence[Row]]], label: str
) -> str:
    """The same in groups of rows, each under a head of its own."""
    bodies = (
        f"<tbody><tr><th scope=rowgroup colspan={len(heads)}>{title}</th></tr>"
        f"{''.join(_row(cells, 1) for cells in rows)}</tbody>"
        for title, rows in groups
    )
    return _framed(kind, heads, "".join(bodies), label)


def _framed(kind: str, heads: Row, bodies: str, label: str) -> str:
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    return (
        f'<div class=wide tabindex=0 role=region aria-label="{escape(label)}">'
        f"<table class={kind}><thead><tr>{head}</tr></thead>{bodies}</table></div>"
    )


def _row(cells: Row, named_by: int) -> str:
    heads = "".join(f"<th scope=row>{cell}</th>" for cell in cells[:named_by])
    return f"<tr>{heads}{''.join(f'<td>{cell}</td>' for cell in cells[named_by:])}</tr>"
