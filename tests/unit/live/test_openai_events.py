"""Server-sent events come out the same wherever a stream is cut, and whatever ends its lines."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simlora.live.openai_events import MOST_BYTES, Event, Events


def read(parts: Iterable[bytes]) -> list[Event]:
    """The events of a stream that came in these parts."""
    events, found = Events(), list[Event]()
    for part in parts:
        found += events.feed(part)
    return found + list(events.end())


CHUNKS = st.fixed_dictionaries(
    {"text": st.text(max_size=12), "finish_reason": st.sampled_from([None, "stop"])}
)
# Comments, as servers send them to keep a connection alive, and fields that say nothing of tokens.
ASIDES = st.sampled_from(["", ": ping\n", ":\n", "id: 7\n", "retry: 10\n", "data\n\n", "\n"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[dict[str, str | None]]]:
    """A valid stream, and the chunks in it."""
    end, chunks = draw(ENDS), draw(st.lists(CHUNKS, max_size=6))
    text = ""
    for chunk in chunks:
        space = draw(st.sampled_from(["", " "]))
        indent = draw(st.sampled_from([None, 1]))  # an event may have several lines of data
        content = json.dumps(chunk, ensure_ascii=draw(st.booleans()), indent=indent)
        lines = [f"data:{space}{line}\n" for line in content.split("\n")]
        text += f"{draw(ASIDES)}{''.join(lines)}\n"
    text += draw(st.sampled_from(["data: [DONE]\n\n", "data:[DONE]\n", "data: [DONE]"]))
    return text.replace("\n", end).encode(errors="surrogatepass"), chunks


@given(streams(), st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_a_stream_says_the_same_however_it_is_cut(
    stream: tuple[bytes, list[dict[str, str | None]]], mark: bytes
) -> None:
    sent, chunks = mark + stream[0], stream[1]
    whole = read([sent])
    *found, done = [event.data for event in whole]
    assert done == b"[DONE]"
    assert [json.loads(data) for data in found] == chunks
    assert read(sent[place : place + 1] for place in range(len(sent))) == whole
    for cut in range(len(sent) + 1):
        assert read([sent[:cut], sent[cut:]]) == whole


@given(st.lists(st.binary(max_size=40)))
def test_no_bytes_bring_the_parser_down(parts: list[bytes]) -> None:
    whole = read([b"".join(parts)])
    assert read(parts) == whole
    assert all(b"\r" not in event.data for event in whole)


def test_an_event_is_complete_with_its_empty_line_and_not_later() -> None:
    for end in (b"\n", b"\r", b"\r\n"):
        events = Events()
        assert list(events.feed(b"data: a" + end)) == []
        assert list(events.feed(end)) == [Event(b"", b"a")]
        assert list(events.end()) == []


def test_lines_of_data_are_joined_and_kinds_do_not_carry_over() -> None:
    sent = b"event: error\ndata: {\ndata:  1}\n\ndata: b\n\nevent: none\n\n"
    assert read([sent]) == [Event(b"error", b"{\n 1}"), Event(b"", b"b")]


def test_an_event_without_end_is_refused() -> None:
    part = b"x" * (MOST_BYTES // 8)
    with pytest.raises(ValueError, match="without end"):
        read([part] * 9)
    many = Events()  # though many events may be as long together
    for _ in range(9):
        assert len(list(many.feed(b"data: " + part + b"\n\n"))) == 1
