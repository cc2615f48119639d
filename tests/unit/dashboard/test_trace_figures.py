"""Uploaded traces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from simlora import UserError
from simlora.dashboard import trace_figures
from simlora.dashboard.trace_figures import DETECT, TraceFigures, detect, read_trace
from simlora.workload.importers import ImportOptions

ROOT = Path(__file__).parents[3]
OWN = "arrival_s,tenant,prompt_tokens,output_tokens\n0,a,1,2\n1,b,3,4\n3,a,5,6\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.5+00:00,10,20\n"
BURST = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,GPT-4,1,2,3,API log\n"
)
MOONCAKE = json.dumps({"timestamp": 0, "input_length": 3, "output_length": 2, "hash_ids": [7]})


def read(scratch: Path, name: str, **options: object) -> TraceFigures:
    told: list[float] = []
    figures = read_trace(
        scratch,
        lambda share, words: told.append(share),
        DETECT,
        (name,),
        ImportOptions(**options),  # type: ignore[arg-type]
    )
    assert told == sorted(told)
    assert all(0 <= share <= 1 for share in told)
    return figures


@pytest.mark.parametrize(
    ("name", "text", "format_name"),
    [
        ("own.csv", OWN, "csv"),
        ("conv.csv", AZURE, "azure-llm"),
        ("burst.csv", BURST, "burstgpt"),
        ("conversation.jsonl", MOONCAKE, "mooncake"),
    ],
)
def test_known_formats_are_recognized_and_read(
    tmp_path: Path, name: str, text: str, format_name: str
) -> None:
    (tmp_path / name).write_text(text)
    figures = read(tmp_path, name)
    assert figures.format_name == format_name
    assert figures.described["requests"] == (3 if format_name == "csv" else 1)


def test_parquet_and_servegen_are_recognized(tmp_path: Path) -> None:
    shutil.copy(ROOT / "traces/chat.parquet", tmp_path / "chat.parquet")
    assert detect([tmp_path / "chat.parquet"]) == "parquet"
    names = [tmp_path / "m-chunk-0-trace.csv", tmp_path / "m-chunk-0-dataset.json"]
    assert detect(names) == "servegen"


def test_shares_and_rates_add_up_to_the_whole_trace(tmp_path: Path) -> None:
    shutil.copy(ROOT / "traces/bursty.parquet", tmp_path / "bursty.parquet")
    figures = read(tmp_path, "bursty.parquet")
    rows = figures.described["requests"]
    width_s = figures.rates["time_s"].iloc[1] - figures.rates["time_s"].iloc[0]
    assert figures.rates["rate_rps"].sum() * width_s == pytest.approx(rows)
    for _, side in figures.lengths.groupby("side"):
        assert side["share"].sum() == pytest.approx(1.0)
        assert (side["low"] < side["high"]).all()
    assert figures.ranks["share"].is_monotonic_decreasing
    assert figures.ranks["share"].iloc[0] == pytest.approx(
        figures.described["tenants"]["largest_share"]
    )


def test_an_anonymous_trace_is_spread_over_tenants(tmp_path: Path) -> None:
    text = AZURE + "".join(
        f"2024-05-10 00:{n // 60:02d}:{n % 60:02d}.6+00:00,10,20\n" for n in range(200)
    )
    (tmp_path / "conv.csv").write_text(text)
    assert read(tmp_path, "conv.csv", tenants=20).described["tenants"]["count"] > 10


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("text.csv", b"hello"),
        ("broken.parquet", b"PAR1 not really"),
        ("broken.jsonl", b"{"),
        ("header.csv", OWN.splitlines()[0].encode()),
        ("words.csv", OWN.replace("3,4", "three,4").encode()),
        ("order.csv", OWN.replace("3,a,5,6", "0.5,a,5,6").encode()),
        ("binary.csv", bytes(range(256))),
        ("picture.png", b"\x89PNG"),
        ("packed.csv.gz", b"not gzip"),
    ],
)
def test_a_malformed_upload_is_a_mistake_in_one_sentence(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name.partition(".")[0]) as raised:
        read(tmp_path, name)
    assert "\n" not in str(raised.value)


def test_a_trace_beyond_the_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_figures, "MOST_ROWS", 2)
    (tmp_path / "own.csv").write_text(OWN)
    with pytest.raises(UserError, match="more than 2 requests"):
        read(tmp_path, "own.csv")
