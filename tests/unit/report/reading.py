"""Pages of reports as a reader's browser takes them in."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

MOST_BYTES = 3_000_000


class Page(HTMLParser):
    """What matters of a page: its heads in order, and the attributes of elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.heads: list[tuple[int, str]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch(r"h[1-6]", tag):
            self.heads.append((int(tag[1]), ""))
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and not re.fullmatch(r"h[1-6]", tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self.heads[-1] = (self.heads[-1][0], self.heads[-1][1] + data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def sections(self) -> list[str]:
        return [title for level, title in self.heads if level == 2]


def page_at(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def check_stands_alone(path: Path) -> None:
    """It is small, and nothing of it is fetched from elsewhere."""
    assert path.stat().st_size < MOST_BYTES
    text = path.read_text(encoding="utf-8")
    assert "http:" not in text and "https:" not in text
    assert "@import" not in text and "url(http" not in text
    page = Page(text)
    assert not {"script", "link", "iframe", "base"} & {tag for tag, _ in page.elements}
    for _, attrs in page.elements:
        for key in ("src", "href"):
            assert (attrs.get(key) or "#").startswith(("#", "data:"))


def check_can_be_read_unseen(page: Page) -> None:
    """Heads are in order, figures are told in words, and cells have heads to be told by."""
    levels = [level for level, _ in page.heads]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later <= level + 1 for level, later in pairwise(levels))
    figures = page.all("svg")
    assert len(figures) == len(page.all("figcaption"))
    for attrs in figures:
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 40
    assert not page.all("img")
    tags = [tag for tag, _ in page.elements]
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in page.all("th"))
    assert tags.count("table") == tags.count("thead")
    assert all(after == "th" for tag, after in pairwise(tags) if tag == "tr")
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("main")) == 1


def check_order(page: Page, *titles: str) -> None:
    """These sections come in this order, whatever is between them, from the first to the last."""
    found = [title for title in page.sections if title in titles]
    assert found == list(titles)
    assert (page.sections[0], page.sections[-1]) == (titles[0], titles[-1])
