from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlora.errors import UserError
from simlora.workload.importers import ImportOptions, ImportReport, import_trace


def run(
    format_name: str, source: Path, **options: Any
) -> tuple[dict[str, list[Any]], ImportReport]:
    out = source.with_name("imported.parquet")
    report = import_trace(format_name, [source], out, ImportOptions(**options))
    return pq.read_table(out).to_pydict(), report


def text(path: Path, *lines: str, end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
BURSTGPT_3 = BURSTGPT.replace("Timestamp,", "Timestamp,Session ID,Elapsed time,")


def test_burstgpt_of_both_layouts(tmp_path: Path) -> None:
    old = text(
        tmp_path / "old.csv",
        BURSTGPT,
        "5,ChatGPT,472,18,490,Conversation log",
        "45,ChatGPT,1087,0,1087,API log",
    )
    rows, report = run("burstgpt", old)
    assert rows["arrival_s"] == [0, 40]
    assert rows["prompt_tokens"] == [472, 1087]
    assert rows["output_tokens"] == [18, 1]
    assert rows["tenant"] == rows["adapter"] == ["tenant-0000"] * 2
    assert (report.rows, report.raised_prompts, report.raised_outputs) == (2, 0, 1)
    new = text(
        tmp_path / "new.csv",
        BURSTGPT_3,
        "5,12,0.7,ChatGPT,472,18,490,Conversation log",
        "45.5,,1.5,ChatGPT,1087,230,1317,API log",
        "46,c-7,1.5,GPT-4,10,20,30,Conversation log",
    )
    rows, _ = run("burstgpt", new)
    assert rows["arrival_s"] == [0, 40.5, 41]
    assert rows["session"][:2] == [12, None]
    assert rows["session"][2] > 10**6


def test_azure_times_are_exact_to_the_seventh_digit(tmp_path: Path) -> None:
    source = text(
        tmp_path / "azure.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:46.6805901,1,1",
        "2023-11-17 18:15:46.6805903,396,109",
        end="\r\n",
    )
    rows, _ = run("azure-llm", source)
    assert rows["arrival_s"] == [0.0, 1e-7, 86_400.0000003]


def test_azure_2024_times_with_a_zone(tmp_path: Path) -> None:
    source = text(
        tmp_path / "azure.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "2024-05-10 00:00:00.009930+00:00,2162,5",
        "2024-05-10 00:00:00.017335+00:00,2399,6",
    )
    assert run("azure-llm", source)[0]["arrival_s"] == [0.0, 0.007405]


@pytest.mark.parametrize(
    ("unit", "times"),
    [
        ("s", [1_700_000_000, 1_700_000_002]),
        ("s", [0.25, 2.25]),
        ("ms", [1_700_000_000_123, 1_700_000_002_123]),
        ("us", [5_000_000, 7_000_000]),
        ("ns", [1_700_000_000_000_000_001, 1_700_000_002_000_000_001]),
        ("datetime", [dt.datetime(2024, 5, 1, 12, 0, 1), dt.datetime(2024, 5, 1, 12, 0, 3)]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_times_of_any_unit(tmp_path: Path, kind: str, unit: str, times: list[Any]) -> None:
    source = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pq.write_table(pa.table({"ts": times, "in": [3, 4], "out": [5, 6]}), source)
    else:
        text(source, "ts,in,out", f"{times[0]},3,5", f"{times[1]},4,6")
    columns = {"arrival_s": "ts", "prompt_tokens": "in", "output_tokens": "out"}
    rows, _ = run(kind, source, column_map=columns, time_unit=unit)
    assert rows["arrival_s"] == [0.0, 2.0]
    assert rows["prompt_tokens"] == [3, 4]
    assert rows["output_tokens"] == [5, 6]


def test_names_that_a_file_has_are_kept(tmp_path: Path) -> None:
    source = text(
        tmp_path / "in.csv",
        "arrival_s,customer,model,prompt_tokens,output_tokens,priority",
        "0,acme,acme-v2,3,5,2",
        "1,17,,4,6,",
    )
    columns = {"tenant": "customer", "adapter": "model"}
    rows, _ = run("csv", source, column_map=columns)
    assert rows["tenant"] == ["acme", "17"]
    assert rows["adapter"] == ["acme-v2", ""]
    assert rows["priority"] == [2, 0]


def test_tenants_are_drawn_by_zipf_and_sessions_stay_together(tmp_path: Path) -> None:
    count = 40_000
    sessions = np.arange(count) // 4
    source = tmp_path / "in.parquet"
    lengths = np.full(count, 5)
    columns: dict[str, Any] = {
        "arrival_s": np.arange(count) / 10,
        "prompt_tokens": lengths,
        "output_tokens": lengths,
    }
    for more in ({}, {"session": sessions}):
        pq.write_table(pa.table({**columns, **more}), source)
        rows, _ = run("parquet", source, tenants=100, zipf=1.0, seed=3)
        names, counts = np.unique(rows["tenant"], return_counts=True)
        assert rows["adapter"] == rows["tenant"]
        expected = 1 / np.arange(1, 101) / np.sum(1 / np.arange(1, 101))
        found = dict(zip(names.tolist(), (counts / count).tolist(), strict=True))
        assert found["tenant-0000"] == pytest.approx(expected[0], rel=0.06)
        assert found["tenant-0004"] == pytest.approx(expected[4], rel=0.15)
    by_session = np.array(rows["tenant"]).reshape(-1, 4)
    assert np.all(by_session == by_session[:, :1])
    assert run("parquet", source, tenants=100, seed=3)[0] == rows
    assert run("parquet", source, tenants=100, seed=4)[0] != rows


def test_the_limit_counts_requests(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    columns = {"arrival_s": np.arange(50_000.0), "prompt_tokens": np.ones(50_000, dtype=int)}
    pq.write_table(pa.table({**columns, "output_tokens": columns["prompt_tokens"]}), source)
    for limit in (1, 16_384, 20_000, 60_000):
        rows, report = run("parquet", source, limit=limit)
        assert report.rows == len(rows["arrival_s"]) == min(limit, 50_000)


def test_mooncake_lines_keep_their_hashes(tmp_path: Path) -> None:
    source = text(
        tmp_path / "in.jsonl",
        '{"timestamp": 1000, "input_length": 1200, "output_length": 5, "hash_ids": [0, 1, 2]}',
        '{"timestamp": 1500, "input_length": 1300, "output_length": 5, "hash_ids": [0, 1, 3]}',
        '{"timestamp": 1501, "input_length": 100, "output_length": 0, "hash_ids": [4]}',
    )
    rows, report = run("mooncake", source, tenants=1000)
    assert rows["arrival_s"] == [0, 0.5, 0.501]
    assert rows["prefix_hashes"] == [[0, 1, 2], [0, 1, 3], [4]]
    assert rows["tenant"][0] == rows["tenant"][1]  # one conversation
    assert report.raised_outputs == 1
    metadata = pq.read_schema(tmp_path / "imported.parquet").metadata
    assert metadata[b"simlora.prefix_block_tokens"] == b"512"


def test_a_block_size_in_metadata_that_is_no_number_is_asked_for(tmp_path: Path) -> None:
    columns = {"arrival_s": [0.0], "prompt_tokens": [32], "output_tokens": [1]}
    table = pa.table({**columns, "prefix_hashes": [[1]]})
    source = tmp_path / "in.parquet"
    pq.write_table(table.replace_schema_metadata({"simlora.prefix_block_tokens": "²"}), source)
    with pytest.raises(UserError, match="say with --prefix-block-tokens"):
        run("parquet", source)


def test_servegen_clients_become_tenants_with_their_windows_rates(tmp_path: Path) -> None:
    clients = tmp_path / "clients"
    clients.mkdir()
    for number, rate in ((2, 5.0), (10, 0.5)):
        text(
            clients / f"chunk-{number}-trace.csv",
            f"0,{rate},3.0,Gamma,0.1,1",
            "600,0,0,,0,0",
            f"1200,{2 * rate},2.0,Weibull,0.1,1",
            end="\r\n",
        )
        text(
            clients / f"chunk-{number}-dataset.json",
            '{"0": {"input_tokens": "{7: 0.5, 9: 0.5}", "output_tokens": "{0: 1.0}"},'
            ' "1200": {"input_tokens": "{}", "output_tokens": "{50: 1.0}"}}',
        )
    text(clients / "chunk-11-trace.csv", "0,1,1,Gamma,1,1")
    rows, report = run("servegen", clients)
    times, tenants = np.array(rows["arrival_s"]), np.array(rows["tenant"])
    assert report.notes[0] == "clients: 2 (tenant-0000 = client 2, tenant-0001 = client 10)"
    assert report.notes[1].endswith(": 1")
    first = tenants == "tenant-0000"
    assert np.count_nonzero(first & (times < 600)) == pytest.approx(3000, rel=0.25)
    assert np.count_nonzero(first & (times > 1190)) == pytest.approx(6000, rel=0.15)
    assert np.count_nonzero(~first) == pytest.approx(900, rel=0.5)
    assert not np.any((times > 601) & (times < 1190))
    assert set(rows["prompt_tokens"]) == {7, 9}
    late = np.array(rows["output_tokens"])[times > 1190]
    assert set(late.tolist()) == {50}
    assert report.raised_outputs == np.count_nonzero(times < 1190)
