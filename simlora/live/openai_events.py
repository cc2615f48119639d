"""Server-sent events, as their bytes come.

Source: WHATWG HTML Living Standard, section 9.2 "Server-sent events"
(https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

MOST_BYTES = 2**24  # of an event: whoever sends more sends no chunks of an answer
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """`kind` is the event's name, empty for most; `data` its lines, joined by line feeds."""

    kind: bytes
    data: bytes


class Events:
    """Makes events of a stream's parts, wherever the stream was cut into these. Lines end in LF,
    CRLF or CR; an event ends with an empty line. Fields other than `data` and `event`,
    comments, and events without data are left out."""

    def __init__(self) -> None:
        self._rest = b""  # a line without an end yet
        self._size = 0  # of the event so far
        self._began = False
        self._after_cr = False  # a line feed that comes now belongs to the line before
        self._kind = b""
        self._data: list[bytes] = []

    def feed(self, part: bytes) -> Iterator[Event]:
        """The events that end in this part. Raises ValueError where one is too long."""
        if not part:
            return
        text = part[1:] if self._after_cr and part.startswith(b"\n") else part
        self._after_cr = part.endswith(b"\r")
        self._size += len(text)
        if not self._began and not _BOM.startswith(self._rest + text):
            self._began = True
            text, self._rest = (self._rest + text).removeprefix(_BOM), b""
        *lines, self._rest = _lines(self._rest + text)
        for line in lines:
            if line:
                self._take(line)
            elif (event := self._event()) is not None:
                yield event
        if self._size > MOST_BYTES:
            raise ValueError("an event without end")

    def end(self) -> Iterator[Event]:
        """What the stream ended with, if no empty line came after it. (The standard drops such an
        event; some servers leave out the line after their last one.)"""
        if self._rest:
            self._take(self._rest)
        if (event := self._event()) is not None:
            yield event

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value

    def _event(self) -> Event | None:
        data = b"\n".join(self._data)
        event = Event(self._kind, data) if data else None
        self._kind, self._data, self._size = b"", [], len(self._rest)
        return event


def _lines(text: bytes) -> list[bytes]:
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.split(b"\n")
