"""Trace: upload one in any known format, and see its popularity, rates and lengths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from simlora.dashboard import jobs, state
from simlora.dashboard.limits import MOST_REQUESTS, MOST_TENANTS
from simlora.dashboard.tables import show_table
from simlora.dashboard.text import show_mistake
from simlora.dashboard.trace_figures import DETECT, MOST_ROWS, detect
from simlora.dashboard.trace_load import TraceLoad
from simlora.dashboard.uploads import files_of, safe_name
from simlora.errors import UserError
from simlora.workload.importers import IMPORTERS, ImportOptions
from simlora.workload.importers.base import TimeUnit
from simlora.workload.tables import TABLE_SUFFIXES, open_table
from simlora.workload.trace import BLOCK_KEY

KIND = "trace"
_OURS = "—"  # the column is called as in a trace
_MOST_NAMES = 1_000
_NAMES_AT_ONCE = 10
_HEADS = {
    "in the trace": "The tenant's name in the trace; the busiest tenant is first.",
    "in the scenario": "What it is called on the other pages.",
    "group": "The group of the scenario whose tier and adapters are its.",
}
_COLUMNS = ("arrival_s", "tenant", "prompt_tokens", "output_tokens")
_TOLD = {
    DETECT: "detect",
    "azure-llm": "Azure LLM inference",
    "burstgpt": "BurstGPT",
    "mooncake": "Mooncake (JSON lines)",
    "servegen": "ServeGen client files",
    "csv": "CSV, with columns of its own",
    "parquet": "Parquet, with columns of its own",
}


@dataclass(frozen=True, slots=True)
class _Head:
    """What an uploaded table says of itself: `format_name` is what it is detected as, and
    `states_block` whether it tells how many tokens a prefix hash stands for."""

    format_name: str
    columns: tuple[str, ...]
    states_block: bool


def show() -> None:
    """Draw the page."""
    st.title("Trace")
    st.caption(
        "Look at a trace before replaying it: who sends, how often, and how long requests are. "
        f"Files of up to {MOST_ROWS:,} requests stay on this server only while they are read, and "
        "what is replayed of them as long as this session."
    )
    uploads = st.file_uploader(
        "Trace file (CSV, Parquet or JSON lines)",
        ["csv", "gz", "parquet", "jsonl", "json"],
        accept_multiple_files=True,
        key="trace_upload",
        help="simlora's own format, Azure LLM, BurstGPT, Mooncake, or ServeGen's client files "
        "(several at once); any other table by naming its columns.",
    )
    if uploads:
        _settings(uploads)
    if jobs.mistake(KIND):
        show_mistake(jobs.mistake(KIND))
    found = jobs.result(KIND)
    if found is not None:
        from simlora.dashboard.trace_charts import draw

        _replay(found.load)
        draw(found)
    elif not uploads:
        st.info("Nothing uploaded yet. No file at hand? traces/ in the repository has two.")


def _replay(load: TraceLoad) -> None:
    """Take the trace as the load of all pages, or tell that it is and who is called what."""
    used = state.trace()
    if used is None or (used.digest, used.name) != (load.digest, load.name):
        cut = "" if load.requests == load.total else f"the first {load.requests:,} requests of "
        st.caption(
            f"Have the other pages simulate {cut}this trace in the place of the scenario's own "
            "load. Fleet, adapters and tiers stay those of the scenario in the sidebar; the "
            "trace's tenants are divided among its groups."
        )
        st.button(
            "Use this trace as the load",
            on_click=state.use_trace,
            args=(load,),
            icon=":material/play_circle:",
            help=f"For this session: {MOST_REQUESTS:,} requests of {MOST_TENANTS:,} tenants at "
            "most. The sidebar then says how it is replayed, and has the way back.",
        )
        return
    if not state.replayed():
        st.warning("It cannot be the load of the present scenario: the sidebar says why.")
        return
    st.success(
        "This trace is the load of every page that simulates: open What if, and press Simulate."
    )
    with st.expander("Who of the trace is called what"):
        _names(load)


def _names(load: TraceLoad) -> None:
    import pandas as pd

    names = state.names()
    show_table(
        pd.DataFrame(
            {
                "in the trace": load.tenants,
                "in the scenario": names,
                "group": [name.rpartition("-")[0] for name in names],
            }
        ).head(_MOST_NAMES),
        {name: st.column_config.TextColumn(help=about) for name, about in _HEADS.items()},
        _NAMES_AT_ONCE,
    )
    if len(names) > _MOST_NAMES:
        st.caption(f"The {_MOST_NAMES:,} busiest of {len(names):,}.")


def _settings(uploads: list[UploadedFile]) -> None:
    one, two, three, four = st.columns(4, gap="medium", vertical_alignment="bottom")
    format_name = one.selectbox(
        "Format",
        [DETECT, *IMPORTERS],
        format_func=lambda name: _TOLD.get(name, name),
        key="trace_format",
        bind="query-params",
        help="Detected by the file's name and columns, unless chosen here.",
    )
    anonymous = two.number_input(
        "Tenants",
        0,
        20_000,
        0,
        key="trace_tenants",
        bind="query-params",
        help="A trace that names no tenants is spread over so many. 0: one tenant, or those that "
        "it names.",
    )
    zipf = three.number_input(
        "Zipf exponent",
        0.0,
        10.0,
        1.0,
        0.1,
        key="trace_zipf",
        bind="query-params",
        help="Popularity of those tenants: the k-th has a share proportional to k to the power of "
        "minus this.",
    )
    unit = four.selectbox(
        "Unit of time",
        get_args(TimeUnit),
        key="trace_unit",
        bind="query-params",
        help="Of the arrival column, where a table has columns of its own. datetime: date and "
        "time as text.",
    )
    try:
        head = _mapped_head(uploads, format_name)
    except UserError as error:
        show_mistake(error)
        return
    mapping, block_tokens, complete = {}, None, True
    if head is not None:
        mapping = _mapping(head.columns)
        if "prefix_hashes" in head.columns and not head.states_block:
            block_tokens = _block_tokens()
            complete = block_tokens is not None
    if st.button(
        "Read the trace", type="primary", icon=":material/play_arrow:", disabled=not complete
    ):
        options = ImportOptions(
            int(anonymous) or None,
            float(zipf),
            column_map=mapping,
            time_unit=unit,
            prefix_block_tokens=block_tokens,
        )
        _read(uploads, format_name, options)


def _mapped_head(uploads: list[UploadedFile], format_name: str) -> _Head | None:
    """Of the one table that is read by the names of its columns; None for any other format."""
    if format_name not in (DETECT, "csv", "parquet") or len(uploads) != 1:
        return None
    head = _head(uploads[0])
    if head is None or (format_name == DETECT and head.format_name not in ("csv", "parquet")):
        return None
    return head


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    """What the columns of a foreign table are called, asked for where it has not ours."""
    if all(name in columns for name in _COLUMNS if name != "tenant"):
        return {}
    st.markdown("**What the columns are called in this file**")
    mapping = {}
    for place, name in zip(st.columns(len(_COLUMNS)), _COLUMNS, strict=True):
        theirs = place.selectbox(
            name,
            [_OURS, *columns],
            key=f"map_{name}",
            help="The file's column for it" + (" (optional)." if name == "tenant" else "."),
        )
        if theirs != _OURS:
            mapping[name] = theirs
    return mapping


def _block_tokens() -> int | None:
    """How many tokens a prefix hash stands for, asked for where the file does not say."""
    st.markdown(
        "**How many tokens each of the `prefix_hashes` stands for, which the file does not say**"
    )
    asked = st.number_input(
        "Block size (tokens)",
        1,
        1_000_000,
        None,
        key="trace_block",
        bind="query-params",
        placeholder="tokens",
        width=240,
        help="The consecutive tokens of a prompt that one hash stands for: the block size of the "
        "prefix cache whose hashes these are. The trace can be read once it is given.",
    )
    return None if asked is None else int(asked)


def _head(upload: UploadedFile) -> _Head | None:
    """What an uploaded table says of itself; None for what is no table. Raises UserError."""
    known: dict[str, _Head | None] = st.session_state.setdefault("trace_head", {})
    if upload.file_id not in known:
        known.clear()
        name = safe_name(upload.name)
        if not name.endswith(TABLE_SUFFIXES):
            known[upload.file_id] = None
            return None
        with TemporaryDirectory(prefix="simlora-dashboard-") as scratch:
            file = Path(scratch) / name
            file.write_bytes(upload.getbuffer())
            try:
                table = open_table(file)
                stated = table.metadata.get(BLOCK_KEY, "")
                states_block = stated.isdecimal() and int(stated) > 0
                known[upload.file_id] = _Head(detect([file]), table.columns, states_block)
            except UserError as error:
                raise UserError(str(error).replace(f"{scratch}/", "")) from None
    return known[upload.file_id]


def _read(uploads: list[UploadedFile], format_name: str, options: ImportOptions) -> None:
    files = files_of(uploads)
    jobs.forget(KIND)
    names = tuple(sorted(files))
    jobs.begin(
        KIND, "Reading", "read_trace", format_name, names, options, files=files, remember=False
    )
