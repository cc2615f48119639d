"""Pieces of HTML that all pages share: paragraphs, and tables that scroll where they are wide."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape


def unbroken(text: str) -> str:
    """Keep figures and their units on one line."""
    return re.sub(r"(?<=\d) (?=(?:%|µs|ms|s|min|h)\b|%)", "&nbsp;", text)


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{unbroken(escape(text))}</p>"


def table(
    kind: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    label: str,
    *,
    named_rows: bool = False,
) -> str:
    """A table; heads and cells are HTML already, `label` is plain text for those who do not see it.
    `named_rows`: the first cell of a row is its head. It can be scrolled with the keyboard."""
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    body = "".join(f"<tr>{_cells(cells, named_rows)}</tr>" for cells in rows)
    return (
        f'<div class=wide tabindex=0 role=region aria-label="{escape(label)}">'
        f"<table class={kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cells(cells: Sequence[str], named: bool) -> str:
    first = f"<th scope=row>{cells[0]}</th>" if named else f"<td>{cells[0]}</td>"
    return first + "".join(f"<td>{cell}</td>" for cell in cells[1:])
