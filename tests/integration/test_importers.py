"""Importers against the publishers' own bytes, and the same traces as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from simlora.cli.main import main
from simlora.workload.importers import ImportOptions, import_trace
from tests.measurements import TRACES, needs

ORIGINALS = TRACES / "originals"
pytestmark = needs(ORIGINALS)


def imported(tmp_path: Path, format_name: str, source: Path, **options: Any) -> dict[str, Any]:
    out = tmp_path / "imported.parquet"
    import_trace(format_name, [source], out, ImportOptions(**options))
    table = pq.read_table(out)
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.parametrize("kind", ["conv", "code"])
def test_azure_original_equals_the_parquet_row_by_row(tmp_path: Path, kind: str) -> None:
    original = ORIGINALS / f"AzureLLMInferenceTrace_{kind}.head2000.csv"
    assert b"\r\n" in original.read_bytes()[:100]
    rows = imported(tmp_path, "azure-llm", original)
    known = pq.read_table(TRACES / f"azure_llm_2023_{kind}.parquet").slice(0, 2000).to_pydict()
    assert rows["prompt_tokens"] == known["prompt_tokens"]
    assert rows["output_tokens"] == known["output_tokens"]
    assert rows["arrival_s"] == pytest.approx(known["arrival_s"], abs=1e-9)


@pytest.mark.parametrize("kind", ["conversation", "synthetic"])
def test_mooncake_original_equals_the_parquet_row_by_row(tmp_path: Path, kind: str) -> None:
    original = ORIGINALS / f"mooncake_{kind}_trace.head2000.jsonl"
    rows = imported(tmp_path, "mooncake", original)
    known = pq.read_table(TRACES / f"mooncake_{kind}.parquet").slice(0, 2000).to_pydict()
    for name in ("arrival_s", "prompt_tokens", "output_tokens"):
        assert rows[name] == known[name]
    assert rows["prefix_hashes"] == known["hash_ids"]


def test_the_whole_azure_conversation_trace_over_500_tenants(tmp_path: Path) -> None:
    source = TRACES / "azure_llm_2023_conv.parquet"
    rows = imported(tmp_path, "azure-llm", source, tenants=500, zipf=1.0)
    counts = np.sort(np.unique(rows["tenant"], return_counts=True)[1])[::-1]
    assert counts.sum() == 19_366
    assert counts[0] / 19_366 == pytest.approx(1 / np.sum(1 / np.arange(1, 501)), rel=0.05)


def test_mooncake_conversations_keep_their_reuse_within_a_tenant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.parquet"
    source = str(TRACES / "mooncake_conversation.parquet")
    assert main(["trace", "import", "mooncake", source, "--out", str(out), "--tenants", "500"]) == 0
    capsys.readouterr()
    assert main(["trace", "describe", str(out), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["requests"] == 12_031
    prefix = described["prefix_cache"]
    assert prefix["hit_share_if_shared"] == pytest.approx(0.3736, abs=1e-3)
    assert prefix["hit_share_per_adapter"] > 0.95 * prefix["hit_share_if_shared"]


def test_servegen_original_sends_at_the_measured_rates(tmp_path: Path) -> None:
    trace = ORIGINALS / "servegen_m-large_chunk-115-trace.csv"
    rows = imported(tmp_path, "servegen", ORIGINALS)
    windows = np.loadtxt(trace, delimiter=",", usecols=(0, 1))
    expected = windows[:, 1].sum() * 600
    assert len(rows["arrival_s"]) == pytest.approx(expected, rel=0.05)
    lengths = pq.read_table(TRACES / "servegen_client_lengths.parquet").to_pandas()
    known = lengths[(lengths.model == "m-large") & (lengths.client_id == 115)]
    low, high = known.input_tokens_mean.min(), known.input_tokens_mean.max()
    assert 0.9 * low <= np.mean(rows["prompt_tokens"]) <= 1.1 * high


@pytest.mark.parametrize("name", ["azure_llm_2023_conv", "mooncake_conversation"])
def test_the_generic_importer_reads_the_parquet_files_too(tmp_path: Path, name: str) -> None:
    rows = imported(tmp_path, "parquet", TRACES / f"{name}.parquet", limit=100)
    assert len(rows["arrival_s"]) == 100
