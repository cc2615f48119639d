"""The Trace page without a browser: what it asks of an uploaded table before it can be read."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from simlora.dashboard.trace_figures import TraceFigures
from simlora.workload.describe import describe_trace
from simlora.workload.trace import BLOCK_KEY
from tests.unit.dashboard.driving import control, go, labels, opened, press, settled, texts

CHAT = Path(__file__).parents[3] / "traces/chat.parquet"
BLOCK = "Block size (tokens)"
READ = "Read the trace"
ROWS = 500

pytestmark = pytest.mark.usefixtures("tidied")


def uploaded(app: AppTest, name: str, content: bytes) -> AppTest:
    """The page Trace with this file."""
    settled(app)
    app.file_uploader(key="trace_upload").set_value([(name, content, "")]).run()
    assert not app.exception
    return app


def without_block(**metadata: str) -> bytes:
    """Conversations with prefix hashes of 64 tokens, without the metadata that says so."""
    table = pq.read_table(CHAT)
    out = io.BytesIO()
    pq.write_table(table.slice(0, ROWS).replace_schema_metadata(metadata or None), out)
    return out.getvalue()


def as_csv() -> bytes:
    """The same as text, which cannot say so."""
    rows = pd.read_parquet(io.BytesIO(without_block()))
    rows["prefix_hashes"] = [" ".join(map(str, ids)) for ids in rows["prefix_hashes"]]
    return rows.to_csv(index=False).encode()


def can_read(app: AppTest) -> bool:
    return not next(one for one in app.button if one.label == READ).disabled


def read_in_blocks_of(tokens: int, app: AppTest) -> AppTest:
    """The page once the trace is read with this block size."""
    control(app, BLOCK).set_value(tokens).run()
    return press(app, READ)


def found(app: AppTest) -> TraceFigures:
    figures: TraceFigures = app.session_state["desk"].results["trace"][1]
    return figures


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("chat.parquet", without_block),
        ("chat.csv", as_csv),
        ("odd.parquet", partial(without_block, **{BLOCK_KEY: "some"})),
    ],
)
def test_a_trace_whose_prefix_hashes_lack_their_block_size_is_read_once_it_is_given(
    name: str, content: Callable[[], bytes], tmp_path: Path
) -> None:
    app = uploaded(opened("trace"), name, content())
    assert "which the file does not say" in texts(app.markdown)
    assert not can_read(app)
    read_in_blocks_of(64, app)
    assert not app.error
    whole = tmp_path / "whole.parquet"
    whole.write_bytes(without_block(**{BLOCK_KEY: "64"}))
    assert found(app).described == describe_trace(whole)


def test_a_wrong_block_size_is_told_in_a_sentence_and_can_be_put_right() -> None:
    app = uploaded(opened("trace"), "chat.parquet", without_block())
    read_in_blocks_of(1, app)
    assert "chat.parquet: row 1" in texts(app.error)
    assert "trace" not in app.session_state["desk"].results
    read_in_blocks_of(64, app)
    assert not app.error
    assert found(app).described["requests"] == ROWS


def test_a_block_size_is_asked_for_only_where_it_is_missing() -> None:
    app = uploaded(opened("trace"), "chat.parquet", CHAT.read_bytes())
    assert BLOCK not in labels(app)
    assert can_read(app)
    plain = b"arrival_s,tenant,prompt_tokens,output_tokens\n0,a,1,2\n"
    assert BLOCK not in labels(uploaded(app, "plain.csv", plain))
    assert can_read(app)
    assert BLOCK in labels(uploaded(app, "chat.csv", as_csv()))
    control(app, "Format").set_value("mooncake").run()
    assert BLOCK not in labels(app)
    assert can_read(app)


def test_a_link_brings_the_block_size_for_the_file_that_is_uploaded_again() -> None:
    app = uploaded(opened("trace", trace_block="64"), "chat.parquet", without_block())
    assert control(app, BLOCK).value == 64
    press(app, READ)
    assert found(app).described["requests"] == ROWS


def test_a_trace_that_is_read_with_a_given_block_size_is_replayed_with_its_prefixes() -> None:
    app = uploaded(opened("trace"), "chat.parquet", without_block())
    press(read_in_blocks_of(64, app), "Use this trace as the load")
    press(go(app, "what_if"), "Simulate")
    assert not app.error
    summary = app.session_state["desk"].results["what-if"][1].summary
    assert summary["requests"]["offered"] == ROWS
    assert summary["prefix_cache"]["hit_ratio"] > 0.1


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("m-chunk-0-trace.csv", "timestamp,request_id,client"),
        ("conv.csv", "TIMESTAMP,ContextTokens,GeneratedTokens"),
    ],
)
def test_a_file_of_a_public_format_is_not_asked_for_its_columns(name: str, header: str) -> None:
    app = uploaded(opened("trace"), name, f"{header}\n0,1,2\n".encode())
    assert "What the columns are called" not in texts(app.markdown)
    assert can_read(app)


def test_a_table_with_one_column_of_a_public_format_is_asked_what_the_others_are_called() -> None:
    text = b"TIMESTAMP,prompt,answer\n2024-05-10 00:00:00,5,6\n2024-05-10 00:00:02,5,6\n"
    app = uploaded(opened("trace"), "own.csv", text)
    theirs = {"arrival_s": "TIMESTAMP", "prompt_tokens": "prompt", "output_tokens": "answer"}
    for ours, name in theirs.items():
        control(app, ours).set_value(name)
    control(app, "Unit of time").set_value("datetime").run()
    press(app, READ)
    assert not app.error
    assert found(app).described["span_s"] == 2
