from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from simlora.cli.main import main
from simlora.workload.describe import describe_trace
from tests.unit.workload.deploying import deploy, requests_of

SCENARIO = """
name: small
model: tiny-llama
fleet: [{gpu: a10g}]
tenants: [{name: t, count: 5, adapter: {rank: 8}}]
workload: {rate_rps: 10, duration_s: 20, arrivals: sessions}
"""
SHIPPED = sorted((Path(__file__).resolve().parents[3] / "traces").glob("*.parquet"))


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "scenario.yaml"
    path.write_text(SCENARIO)
    return str(path)


def test_generate_takes_settings_and_a_seed(tmp_path: Path, scenario: str) -> None:
    files = [tmp_path / f"{name}.parquet" for name in ("plain", "longer", "seeded")]
    for file, more in zip(
        files, ([], ["--set", "workload.duration_s=40"], ["--seed", "9"]), strict=True
    ):
        assert main(["trace", "generate", scenario, "--out", str(file), *more]) == 0
    plain, longer, seeded = (pq.read_table(file).to_pylist() for file in files)
    assert longer[: len(plain)] == plain
    assert seeded[:10] != plain[:10]


def test_describe_prints_a_table_or_json(
    tmp_path: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "t.parquet")
    assert main(["trace", "generate", scenario, "--out", file]) == 0
    assert "requests" in capsys.readouterr().out
    assert main(["trace", "describe", file]) == 0
    shown = capsys.readouterr()
    assert "reusable prompt" in shown.out
    assert shown.err == ""
    assert main(["trace", "describe", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe_trace(Path(file))


def test_convert_to_csv_and_back_changes_nothing(tmp_path: Path, scenario: str) -> None:
    first, text, second = (str(tmp_path / name) for name in ("a.parquet", "b.csv", "c.parquet"))
    assert main(["trace", "generate", scenario, "--out", first]) == 0
    assert main(["trace", "convert", first, text, "--prefix-block-tokens", "64"]) == 0
    assert main(["trace", "convert", text, second, "--prefix-block-tokens", "64"]) == 0
    assert pq.read_table(first).equals(pq.read_table(second), check_metadata=True)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_traces_that_ship_can_be_replayed(path: Path) -> None:
    assert path.stat().st_size < 200_000
    count = describe_trace(path)["tenants"]["count"]
    block = requests_of(deploy(tenants=[{"name": "tenant", "count": count}], trace=str(path)))
    assert len(block) > 1000


def test_synthetic_traffic_needs_no_pyarrow_pandas_or_scipy() -> None:
    code = (
        "import sys; from tests.unit.workload.deploying import deploy, requests_of;"
        "requests_of(deploy(rate_rps=5.0, arrivals='sessions'));"
        "print(*({'pyarrow', 'pandas', 'scipy', 'torch', 'matplotlib'} & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert ran.stdout.strip() == ""
