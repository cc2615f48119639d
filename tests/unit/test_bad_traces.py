"""Every malformed trace gives one clear sentence and exit code 2."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlora.cli.main import main

NAN, INF = float("nan"), float("inf")
HEADER = "arrival_s,tenant,prompt_tokens,output_tokens"
GOOD: dict[str, Any] = {
    "arrival_s": [0.0, 1.0, 2.0],
    "tenant": ["t-0000"] * 3,
    "prompt_tokens": [10, 20, 30],
    "output_tokens": [1, 2, 3],
}
SCENARIO = """
name: bad-trace
model: tiny-llama
fleet: [{gpu: a10g}]
tenants: [{name: t, count: 3, adapter: {rank: 8}}]
workload: {trace: %s}
"""


def parquet(name: str = "t.parquet", **columns: Any) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        kept = {key: value for key, value in {**GOOD, **columns}.items() if value is not None}
        pq.write_table(pa.table(kept), directory / name)
        return directory / name

    return make


def with_hashes(hashes: list[Any], block: str = "16") -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        table = pa.table({**GOOD, "prefix_hashes": hashes})
        table = table.replace_schema_metadata({"simlora.prefix_block_tokens": block})
        pq.write_table(table, directory / "t.parquet")
        return directory / "t.parquet"

    return make


def parquet_long_prompt(directory: Path) -> Path:
    path = with_hashes([[1], [], []])(directory)
    table = pq.read_table(path)
    longer = table.set_column(2, "prompt_tokens", pa.array([48, 48, 48]))
    pq.write_table(longer, path)
    return path


def raw(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        data = content.encode() if isinstance(content, str) else content
        (directory / name).write_bytes(data)
        return directory / name

    return make


def csv(*lines: str) -> Callable[[Path], Path]:
    return raw("t.csv", "\n".join([HEADER, *lines, ""]))


def truncated(keep: float) -> Callable[[Path], Path]:
    def make(directory: Path) -> Path:
        path = parquet()(directory)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])
        return path

    return make


def corrupted(directory: Path) -> Path:
    """A sound footer over overwritten pages."""
    path = directory / "t.parquet"
    columns = {**GOOD, "arrival_s": [float(i) for i in range(3)]}
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[4:120] = b"\xff" * 116
    path.write_bytes(bytes(data))
    return path


def directory_of_that_name(directory: Path) -> Path:
    path = directory / "folder.parquet"
    path.mkdir()
    return path


def missing(directory: Path) -> Path:
    return directory / "nowhere.parquet"


# What is wrong: how the file is made, and what the sentence must say.
BAD_TRACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "unknown column": (
        parquet(prefix_hash=[[1]] * 3),
        "unknown column prefix_hash; did you mean prefix_hashes?",
    ),
    "a column of one's own": (parquet(foo=[1, 2, 3]), "unknown column foo; allowed: arr"),
    "dates": (
        parquet(arrival_s=[1.7e9, 1.7e9 + 1, 1.7e9 + 2]),
        "row 1: arrival_s is 1700000000, which looks like a date",
    ),
    "no such file": (missing, "nowhere.parquet"),
    "a directory": (directory_of_that_name, "not a file"),
    "empty file": (raw("t.parquet", b""), "is empty"),
    "empty csv": (raw("t.csv", b""), "is empty"),
    "other ending": (raw("t.xlsx", "x"), "unknown kind of file"),
    "no parquet inside": (raw("t.parquet", "arrival_s,tenant\n"), "not a readable Parquet file"),
    "csv named parquet": (raw("t.parquet", HEADER + "\n"), "not a readable Parquet file"),
    "parquet named csv": (raw("t.csv", b"PAR1\x00\x00\xff\xfe"), "is not UTF-8 text"),
    "truncated in the middle": (truncated(0.5), "not a readable Parquet file"),
    "truncated at the end": (truncated(0.99), "not a readable Parquet file"),
    "corrupted pages": (corrupted, "damaged after row 0"),
    "gzip of a parquet": (
        raw("t.parquet", gzip.compress(b"PAR1 and more")),
        "not a readable Parquet file",
    ),
    "gzip that is none": (raw("t.csv.gz", "arrival_s\n0\n"), "not a readable CSV file"),
    "truncated gzip": (
        raw("t.csv.gz", gzip.compress(f"{HEADER}\n0,t-0000,1,1\n".encode() * 99)[:60]),
        "t.csv.gz",
    ),
    "no rows": (
        parquet(
            arrival_s=pa.array([], pa.float64()),
            tenant=pa.array([], pa.string()),
            prompt_tokens=pa.array([], pa.int32()),
            output_tokens=pa.array([], pa.int32()),
        ),
        "has no rows",
    ),
    "header only": (csv(), "has no rows"),
    "blank first line": (raw("t.csv", "\n\n0,t-0000,1,1\n"), "must name the columns"),
    "no header": (raw("t.csv", "0,t-0000,10,1\n"), "no column arrival_s"),
    "no tenant": (parquet(tenant=None), "--tenants N"),
    "no arrival_s": (parquet(arrival_s=None), "no column arrival_s"),
    "no output_tokens": (parquet(output_tokens=None), "no column output_tokens"),
    "a column twice": (raw("t.csv", f"{HEADER},tenant\n0,t-0000,1,1,t-0000\n"), "tenant is there"),
    "NaN arrival": (parquet(arrival_s=[0.0, NAN, 2.0]), "row 2: arrival_s is nan"),
    "infinite arrival": (parquet(arrival_s=[0.0, 1.0, INF]), "row 3: arrival_s is inf"),
    "null arrival": (parquet(arrival_s=[0.0, None, 2.0]), "row 2: arrival_s is empty"),
    "negative arrival": (parquet(arrival_s=[-1.0, 0.0, 2.0]), "row 1: arrival_s is -1.0"),
    "unsorted": (parquet(arrival_s=[0.0, 5.0, 3.0]), "row 3: arrival_s is 3.0, earlier than 5.0"),
    "text arrival": (csv("0,t-0000,1,1", "soon,t-0000,1,1"), "t.csv:3: arrival_s is 'soon'"),
    "NaN in csv": (csv("nan,t-0000,1,1"), "t.csv:2: arrival_s is nan"),
    "empty arrival in csv": (csv(",t-0000,1,1"), "t.csv:2: arrival_s is empty"),
    "date arrival": (
        parquet(arrival_s=pa.array([0, 1, 2], pa.timestamp("us"))),
        "arrival_s is of type timestamp",
    ),
    "boolean tokens": (parquet(prompt_tokens=[True, False, True]), "is of type bool"),
    "fractional tokens": (parquet(prompt_tokens=[1.0, 2.5, 3.0]), "row 2: prompt_tokens is 2.5"),
    "zero prompt": (parquet(prompt_tokens=[1, 0, 3]), "row 2: prompt_tokens is 0, allowed is 1"),
    "negative output": (parquet(output_tokens=[1, 2, -3]), "row 3: output_tokens is -3"),
    "absurd output": (parquet(output_tokens=[1, 2, 10**12]), "row 3: output_tokens is 10000000000"),
    "null output": (parquet(output_tokens=[None, 2, 3]), "row 1: output_tokens is empty"),
    "text tokens": (csv("0,t-0000,many,1"), "t.csv:2: prompt_tokens is 'many'"),
    "too few fields": (csv("0,t-0000,1,1", "1,t-0000"), "t.csv:3: 2 fields where the header has 4"),
    "too many fields": (csv("0,t-0000,1,1,9"), "t.csv:2: 5 fields where the header has 4"),
    "numeric tenants": (parquet(tenant=[1, 2, 3]), "tenant is of type int64, not text"),
    "null tenant": (parquet(tenant=["t-0000", None, "t-0000"]), "row 2: tenant is empty"),
    "unknown tenant": (
        parquet(tenant=["t-0000", "t-0000", "t-0007"]),
        "row 3: tenant 't-0007' is not in the scenario, which has t-0000, t-0001, t-0002",
    ),
    "unknown tenant in csv": (csv("0,u-0000,1,1"), "t.csv:2: tenant 'u-0000'"),
    "unknown adapter": (parquet(adapter=["t-0000", "x", "t-0000"]), "row 2: adapter 'x' is not in"),
    "another's adapter": (
        parquet(adapter=["t-0000", "t-0001", "t-0000"]),
        "row 2: adapter 't-0001' belongs to tenant 't-0001', not to 't-0000'",
    ),
    "text session": (parquet(session=["a", "b", "c"]), "row 1: session is 'a'"),
    "huge priority": (parquet(priority=[0, 0, 70_000]), "row 3: priority is 70000"),
    "hashes without a block": (
        parquet(prefix_hashes=[[1], [2, 3], [4]]),
        "how many tokens a hash stands for",
    ),
    "too few hashes": (
        parquet_long_prompt,
        "row 1: 1 prefix_hashes for 48 prompt and 1 output tokens; with 16 tokens a hash, allowed",
    ),
    "too many hashes": (
        with_hashes([[1], [2, 3], [4, 5, 6, 7]]),
        "row 3: 4 prefix_hashes for 30 prompt and 3 output tokens",
    ),
    "wrong block": (with_hashes([[1], [2], [3]], block="zero"), "is 'zero', not a positive"),
    "block of zero": (with_hashes([[1], [2], [3]], block="0"), "is '0', not a positive"),
    "block beside kv blocks": (with_hashes([[], [], []], block="24"), "no multiple of"),
    "hashes of text": (with_hashes([["a"], ["b"], ["c"]]), "must hold integers"),
    "a null hash": (with_hashes([[1], [None, 2], []]), "row 2: prefix_hashes holds an empty entry"),
    "hashes that are no list": (with_hashes([1, 2, 3]), "not a list of integers"),
}


@pytest.mark.parametrize("case", BAD_TRACES)
def test_a_bad_trace_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    make, expected = BAD_TRACES[case]
    trace = make(tmp_path)
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(SCENARIO % json.dumps(str(trace)))
    out = tmp_path / "copy.parquet"
    assert main(["trace", "generate", str(scenario), "--out", str(out)]) == 2
    check_sentence(capsys, expected)
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))


MOONCAKE = '{"timestamp": %s, "input_length": %s, "output_length": 5, "hash_ids": %s}\n'
BAD_IMPORTS: dict[str, tuple[str, Callable[[Path], Path], list[str], str]] = {
    "json line": (
        "mooncake",
        raw("t.jsonl", MOONCAKE % (0, 9, [1]) + "{oops\n"),
        [],
        "t.jsonl:2: not a line of JSON",
    ),
    "json of a list": ("mooncake", raw("t.jsonl", "[1, 2]\n"), [], "t.jsonl:1: not a JSON object"),
    "json without a key": ("mooncake", raw("t.jsonl", '{"timestamp": 1}\n'), [], "no input_length"),
    "json with a string": (
        "mooncake",
        raw("t.jsonl", MOONCAKE % (0, '"9"', [1])),
        [],
        "t.jsonl:1: input_length is '9', not an integer",
    ),
    "json hashes too short": (
        "mooncake",
        raw("t.jsonl", MOONCAKE % (0, 9, [1]) + MOONCAKE % (1, 2000, [1])),
        [],
        "t.jsonl:2: 1 prefix_hashes for 2000 prompt",
    ),
    "json hashes of text": ("mooncake", raw("t.jsonl", MOONCAKE % (0, 9, '["a"]')), [], "hash_ids"),
    "json deeply nested": ("mooncake", raw("t.jsonl", "[" * 100_000), [], "not a line of JSON"),
    "json unsorted": (
        "mooncake",
        raw("t.jsonl", MOONCAKE % (5000, 9, [1]) + MOONCAKE % (4000, 9, [2])),
        [],
        "t.jsonl:2: arrival_s is -1.0 s after the first request, earlier than 0.0",
    ),
    "csv unsorted": (
        "csv",
        raw("t.csv", "arrival_s,tenant,prompt_tokens,output_tokens\n5,a,1,1\n1,a,1,1\n"),
        [],
        "t.csv:3: arrival_s is -4.0 s after the first request, earlier than 0.0",
    ),
    "empty jsonl": ("mooncake", raw("t.jsonl", ""), [], "is empty"),
    "azure without its columns": (
        "azure-llm",
        raw("t.csv", "a,b\n1,2\n"),
        [],
        "no column TIMESTAMP",
    ),
    "azure with a bad time": (
        "azure-llm",
        raw("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n16/11/2023,1,1\n"),
        [],
        "t.csv:2: TIMESTAMP is '16/11/2023', not a date",
    ),
    "azure header only": (
        "azure-llm",
        raw("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"),
        [],
        "no requests",
    ),
    "burstgpt without its columns": ("burstgpt", raw("t.csv", "a\n1\n"), [], "no column Timestamp"),
    "an unmapped column": ("csv", raw("t.csv", "ts,in,out\n1,2,3\n"), [], "--map arrival_s="),
    "a map to nowhere": (
        "csv",
        csv("0,t,1,1"),
        ["--map", "arrival_s=time"],
        "no column time",
    ),
    "a map of nothing": ("csv", csv("0,t,1,1"), ["--map", "arrival_s"], "must be COLUMN=THEIRS"),
    "a map from nowhere": (
        "csv",
        csv("0,t,1,1"),
        ["--map", "when=x"],
        "a trace has no such column",
    ),
    "tenants twice over": ("csv", csv("0,t,1,1"), ["--tenants", "5"], "leave --tenants out"),
    "a map for another format": (
        "mooncake",
        raw("t.jsonl", "{}"),
        ["--map", "a=b"],
        "--map is for",
    ),
    "servegen directory without clients": (
        "servegen",
        directory_of_that_name,
        [],
        "no client with both",
    ),
    "servegen file of another name": ("servegen", raw("t.csv", "0\n"), [], "not a client file"),
    "unknown format": ("sharegpt", missing, [], "'sharegpt' is not one of"),
}


@pytest.mark.parametrize("case", BAD_IMPORTS)
def test_a_bad_import_is_told_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    format_name, make, options, expected = BAD_IMPORTS[case]
    out = tmp_path / "out" / "imported.parquet"
    arguments = ["trace", "import", format_name, str(make(tmp_path)), "--out", str(out), *options]
    assert main(arguments) == 2
    check_sentence(capsys, expected)
    assert not out.exists()


@pytest.mark.parametrize(
    ("trace", "dataset", "expected"),
    [
        ("0,1,1,Gamma\n", None, "chunk-1-trace.csv:1: 4 fields"),
        ("0,x,1,Gamma,1,1\n", None, "'x' is not a number"),
        ("0,-1,1,Gamma,1,1\n", None, "'-1' is not a number of 0 or more"),
        ("0,1,1,Pareto,1,1\n", None, "family 'Pareto'"),
        ("600,1,1,Gamma,1,1\n0,1,1,Gamma,1,1\n", None, "window 0 is not after 600"),
        ("0,1,1,Gamma,1,1\n", "[]", "not a ServeGen data set"),
        ("0,1,1,Gamma,1,1\n", '{"0": {"input_tokens": "{5: x}"}}', "not a ServeGen data set"),
        ("0,1,1,Gamma,1,1\n", '{"0": {"input_tokens": "{}", "output_tokens": "{}"}}', "is empty"),
        ("0,0,0,,0,0\n", None, "no requests"),
    ],
)
def test_bad_servegen_clients_are_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    trace: str,
    dataset: str | None,
    expected: str,
) -> None:
    good = '{"0": {"input_tokens": "{5: 1.0}", "output_tokens": "{6: 1.0}"}}'
    raw("chunk-1-trace.csv", trace)(tmp_path)
    raw("chunk-1-dataset.json", dataset or good)(tmp_path)
    out = tmp_path / "t.parquet"
    assert main(["trace", "import", "servegen", str(tmp_path), "--out", str(out)]) == 2
    check_sentence(capsys, expected)


def test_bad_outputs_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = csv("0,t-0000,1,1")(tmp_path)
    (tmp_path / "blocker").write_text("")
    for out, expected in (
        (tmp_path / "t.json", "allowed are names ending in"),
        (tmp_path / "blocker" / "t.parquet", "cannot be written"),
        (good, "write to another file"),
    ):
        assert main(["trace", "import", "csv", str(good), "--out", str(out)]) == 2
        check_sentence(capsys, expected)
        assert main(["trace", "convert", str(good), str(out)]) == 2
        check_sentence(capsys, expected)


def check_sentence(capsys: pytest.CaptureFixture[str], expected: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err
