"""Steps that cannot have been are refused with file and line, and uneven tables are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.calibration.design import read_shapes
from simlora.calibration.tables import Selection, read_tables
from simlora.calibration.verdict import uneven_columns
from simlora.errors import UserError
from simlora.scenario.catalog import load_model
from simlora.scenario.schema import ModelChoice
from tests.unit.calibration.measuring import read_text

GOOD = "step_s,decode_seqs,distinct_adapters,slots\n0.1,8,4,4\n0.1,8,4,0\n"
IMPOSSIBLE = {
    "decode_seqs,distinct_adapters,slots\n0.1,8,4,4\n0.1,8,5,4\n": "m.csv:3: distinct_adapters are "
    "more than slots, and a step cannot run an adapter without a slot",
    "decode_seqs,distinct_adapters,lora_tokens\n0.1,8,0,4\n": "m.csv:2: lora_tokens go through an "
    "adapter, but distinct_adapters is 0",
    "decode_seqs,lora_tokens\n0.1,8,4\n": "m.csv:2: lora_tokens go through an adapter, but there "
    "is no column distinct_adapters",
    "prefill_tokens,prefill_seqs\n0.1,8,9\n": "m.csv:2: prefill_seqs are more than prefill_tokens, "
    "but each computes a token at least",
    "prefill_tokens,prefill_seqs\n0.1,8,0\n": "m.csv:2: prefill_tokens belong to no prompt: "
    "prefill_seqs is 0",
    "decode_seqs,distinct_adapters,rank\n0.1,8,2,8\n0.1,8,2,0\n": "m.csv:3: the step has adapters "
    "of rank 0",
}


@pytest.mark.parametrize("text", IMPOSSIBLE)
def test_an_impossible_step_is_refused(tmp_path: Path, text: str) -> None:
    model = load_model(ModelChoice(name="tiny-llama"))
    with pytest.raises(UserError) as caught:
        read_shapes(read_text(tmp_path, "step_s," + text), model, "all-linear")
    assert str(caught.value) == f"{tmp_path}/{IMPOSSIBLE[text]}"


def test_what_is_possible_is_read(tmp_path: Path) -> None:
    assert read_shapes(read_text(tmp_path, GOOD), None, "all-linear").slots.tolist() == [4, 0]


def test_a_column_that_only_some_tables_have_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "step_s,decode_seqs,distinct_adapters,slots,lora_tokens,weight\n0.1,8,4,4,8,2\n"
    )
    (tmp_path / "b.csv").write_text("step_s,decode_seqs,distinct_adapters\n0.1,8,4\n")
    (tmp_path / "c.csv").write_text("step_s,decode_seqs,context_tokens\n0.1,8,40\n")
    (tmp_path / "d.csv").write_text("step_s,prefill_tokens,distinct_adapters\n0.1,8,1\n")
    tables = read_tables([tmp_path / f"{name}.csv" for name in "abcd"], Selection())
    without = {
        "a": ("context_tokens is taken to be 0",),
        "b": ("context_tokens is taken to be 0", "lora_tokens is taken to be all tokens",
              "slots is taken to be 0"),
        "c": ("distinct_adapters is taken to be 0",),
        "d": ("lora_tokens is taken to be all tokens", "slots is taken to be 0"),
    }  # fmt: skip
    assert uneven_columns(tables) == [
        f"{tmp_path}/{name}.csv: {problem}, for it lacks the column that other step tables have"
        for name, problems in without.items()
        for problem in problems
    ]
    assert uneven_columns(tables[:1]) == []
