"""Every mistake in a table of measurements is told in one sentence with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.calibration.design import read_shapes
from simlora.calibration.loads import fit_kv, fit_loads
from simlora.calibration.tables import Selection, read_tables
from simlora.errors import UserError
from tests.unit.calibration.measuring import read_text

BAD = {
    "": "m.csv: is empty: a table begins with a line of column names",
    "\n\n": "m.csv: is empty",
    "step_s,decode_seqs\n": "m.csv: has a header, but no measurements",
    "a,b\n1,2\n": "m.csv: is none of the known tables, which are told by their column step_s",
    "step_s,load_s\n1,2\n": "m.csv: has the columns of several tables (steps and loads); keep one",
    "step_s,slots\n1,2\n": "m.csv: lacks a column: a table of steps needs decode_seqs or prefill",
    "load_ms,size\n1,2\n": "m.csv: lacks a column: a table of loads needs bytes or rank beside",
    "kv_tokens,slots\n1,2\n": "m.csv: lacks a column: a table of kv_capacity needs rank beside",
    "scenario,ttft_mean_s\na.yaml,1\n": "a table of runs needs tpot_mean_s or itl_mean_s beside",
    "step_s,decode_seqs\n-0.01,4\n": "m.csv:2: step_s: must be greater than 0, not -0.01",
    "step_s,decode_seqs\n0,4\n": "m.csv:2: step_s: must be greater than 0, not 0",
    "step_s,decode_seqs\n0.1,-4\n": "m.csv:2: decode_seqs: must be at least 0, not -4",
    "step_s,decode_seqs\n0.1,4\nnan,4\n": "m.csv:3: step_s: must be a finite number, not nan",
    "step_ms,decode_seqs\ninf,4\n": "m.csv:2: step_ms: must be a finite number, not inf",
    "step_s,decode_seqs\n0.1,\n": "m.csv:2: decode_seqs: is missing",
    "step_s,decode_seqs\n0.1,four\n": 'm.csv:2: decode_seqs: must be a number, not "four"',
    "step_s,decode_seqs\n12 ms,4\n": 'm.csv:2: step_s: must be a number, not "12 ms"',
    "step_s,decode_seqs\n0.1,1_0\n": 'm.csv:2: decode_seqs: must be a number, not "1_0"',
    "step_s,decode_seqs\n1e-320,4\n": "m.csv:2: step_s: must be at least 1e-07, not 1e-320",
    "step_ms,decode_seqs\n40000,4\n": "m.csv:2: step_ms: must be at most 30000, not 40000",
    "step_s,decode_seqs\n0.1,1e308\n": "m.csv:2: decode_seqs: must be at most 1e+06, not 1e308",
    "step_s,decode_seqs\n0.1,1e-320\n": "decode_seqs: must be 0 or at least 0.001, not 1e-320",
    "step_s,decode_seqs,rank\n0.1,4,1e300\n": "m.csv:2: rank: must be at most 1024, not 1e300",
    "step_s,decode_seqs,rank\n0.1,4,8.5\n": "m.csv:2: rank: must be a whole number, not 8.5",
    "step_s,decode_seqs,slots\n0.1,4,1.5\n": "m.csv:2: slots: must be a whole number, not 1.5",
    "load_s,rank\n0.1,0.5\n": "m.csv:2: rank: must be a whole number, not 0.5",
    "load_s,bytes\n0.1,1e300\n": "m.csv:2: bytes: must be at most 1e+15, not 1e300",
    "load_s,bytes\n80,1\n3000,2\n": "m.csv: by these loads an adapter is copied at 0.0",
    "kv_tokens,slots,rank\n1e300,1,8\n": "m.csv:2: kv_tokens: must be at most 1e+12, not 1e300",
    "step_s,step_ms,decode_seqs\n1,2,3\n": "m.csv: has step_s in two units; keep one of step_s,",
    "step_s,decode_seqs,decode_seqs\n1,2,3\n": 'm.csv:1: column "decode_seqs" is there twice',
    "step_s,decode_seqs\n0.1,4,5\n": "m.csv:2: has 3 cells, but the header has 2",
    'step_s,decode_seqs\n0.1,"4\n': "is not valid CSV",
    "step_s,decode_seqs\n0.1,0\n": "m.csv:2: the step has neither decode_seqs nor prefill_tokens",
    "step_s,decode_seqs,distinct_adapters\n0.1,4,5\n": "m.csv:2: distinct_adapters are more than",
    "step_s,decode_seqs,lora_tokens\n0.1,4,5\n": "m.csv:2: lora_tokens are more than the tokens",
    "step_s,decode_seqs,decode_attended_tokens\n0.1,4,3\n": "m.csv:2: decode_attended_tokens is a",
    "step_s,decode_seqs,rank\n0.1,4,8\n": "m.csv: column rank needs --model",
    "load_s,rank\n0.1,8\n": "m.csv: column rank needs --model, to tell an adapter's bytes",
    "kv_tokens,slots,rank\n9000,1,8\n8000,2,8\n": "m.csv: what a slot and a rank take from the KV",
    "scenario,tpot_mean_s\n,0.1\n": "m.csv:2: scenario: is missing",
    "scenario,tpot_mean_s,workload.rate_rps\na,0.1,\n": "m.csv:2: workload.rate_rps: is missing",
}


def use(tmp_path: Path, text: str) -> None:
    """Read a table as far as its own figures are looked at."""
    table = read_text(tmp_path, text)
    if table.format.name == "steps":
        read_shapes(table, None, "all-linear")
    elif table.format.name == "loads":
        fit_loads([table], None, "all-linear", 1e10)
    else:
        fit_kv([table], None, "all-linear")


@pytest.mark.parametrize("text", BAD)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError) as caught:
        use(tmp_path, text)
    assert BAD[text] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "where", "sentence"),
    [
        ({"step_s": "tme"}, {}, '--map: no file has a column "tme"; did you mean time?'),
        ({}, {"modl": "a"}, '--where: no file has a column "modl"; did you mean model?'),
        ({"step_s": "time"}, {"model": "c"}, "m.csv: --where leaves none of its 2 rows"),
        ({"decode_seqs": "time"}, {}, '--map: {path} then has two columns "decode_seqs"'),
    ],
)
def test_a_bad_selection(
    tmp_path: Path, names: dict[str, str], where: dict[str, str], sentence: str
) -> None:
    text = "time,decode_seqs,model\n0.1,4,a\n0.2,8,b\n"
    with pytest.raises(UserError) as caught:
        read_text(tmp_path, text, Selection(names, where))
    assert sentence.replace("{path}", str(tmp_path / "m.csv")) in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    for path, problem in (
        (tmp_path / "absent.csv", "no such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "binary.csv", "is not UTF-8 text"),
    ):
        with pytest.raises(UserError, match=problem):
            read_tables([path], Selection())


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("step_s,decode_seqs\n12.5,4\n13.5,8\n", "the median of step_s is 13 s, outside the plaus"),
        ("step_ms,decode_seqs\n0.0125,4\n", "the median of step_ms is 1.25e-05 s, outside"),
        ("load_s,bytes\n80,4\n", "the median of load_s is 80 s, outside"),
        (
            "step_s,decode_seqs\n0.012,4\n0.013,5\n14.1,6\n0.015,7\n",
            "m.csv:4: step_s jumps from 0.015 s (line 5) to 14.1 s with nothing between",
        ),
        ("step_s,decode_seqs,distinct_adapter\n0.1,4,2\n", "did you mean distinct_adapters?"),
    ],
)
def test_units_and_names_that_look_wrong_are_warned_about(
    tmp_path: Path, text: str, warning: str
) -> None:
    assert any(warning in one for one in read_text(tmp_path, text).warnings)


def test_what_is_fine_is_not_warned_about(tmp_path: Path) -> None:
    text = "\ufeffstep_ms;decode_seqs;comment\r\n12.5;4;x\r\n\r\n95;300;y\r\n"
    table = read_text(tmp_path, text)
    assert table.columns["step_s"].tolist() == [0.0125, 0.095]
    assert (table.lines, table.warnings) == ([2, 4], [])


def test_what_is_a_mean_may_be_a_fraction(tmp_path: Path) -> None:
    text = (
        "step_ms,decode_seqs,prefill_tokens,prefill_seqs,context_tokens,distinct_adapters,rank\n"
        "12.5,135.979,0.5,0.25,54.2,102.333,8.0\n"
    )
    columns = read_text(tmp_path, text).columns
    assert columns["decode_seqs"].tolist() == [135.979]
    assert columns["distinct_adapters"].tolist() == [102.333]
    assert columns["rank"].tolist() == [8]


def test_rows_and_columns_of_foreign_tables(tmp_path: Path) -> None:
    text = "model,period_ms,batch,ok\na,10,1,1\nb,20,2,1\na,30,3,1.0\na,40,4,0\n"
    names = {"step_ms": "period_ms", "decode_seqs": "batch"}
    table = read_text(tmp_path, text, Selection(names, {"model": "a", "ok": "1"}))
    assert table.columns["step_s"].tolist() == pytest.approx([0.01, 0.03])
    assert table.lines == [2, 4]
