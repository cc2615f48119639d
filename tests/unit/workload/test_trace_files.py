from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simlora.errors import UserError
from simlora.workload import BLOCK_ROWS, open_traffic
from simlora.workload.describe import describe_trace
from simlora.workload.generate import generate_trace
from simlora.workload.trace import open_trace
from simlora.workload.trace_writer import TraceWriter
from tests.unit.workload.deploying import COLUMNS, deploy, requests_of


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def small(path: Path, **more: Any) -> Path:
    columns: dict[str, Any] = {
        "arrival_s": [0.0, 1.0, 1.0, 4.0],
        "tenant": ["tenant-0001", "tenant-0000", "tenant-0001", "tenant-0002"],
        "prompt_tokens": [10, 20, 30, 40],
        "output_tokens": [1, 2, 3, 4],
    }
    return write(path, **{**columns, **more})


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("arrivals", ["poisson", "sessions"])
def test_replaying_what_was_generated_gives_the_same_requests(
    tmp_path: Path, suffix: str, arrivals: str
) -> None:
    path = tmp_path / f"trace{suffix}"
    tenants = [{"name": "a", "count": 3, "adapters": 2}, {"name": "b", "count": 2, "adapters": 0}]
    made = deploy(tenants=tenants, rate_rps=100.0, duration_s=50, arrivals=arrivals)
    assert generate_trace(made, path) == len(requests_of(made))
    block = 64 if arrivals == "sessions" else None
    replayed = deploy(tenants=tenants, trace=str(path), prefix_block_tokens=block)
    before, after = requests_of(made), requests_of(replayed)
    for name in COLUMNS:
        assert np.array_equal(getattr(before, name), getattr(after, name)), name
    assert before.prefix_hashes == after.prefix_hashes


@pytest.mark.parametrize("name", ["TRACE.Parquet", "TRACE.CSV"])
def test_the_ending_of_a_name_may_be_in_capitals(tmp_path: Path, name: str) -> None:
    plain = tmp_path / name.lower()
    generate_trace(deploy(rate_rps=10.0, duration_s=20), plain)
    assert describe_trace(plain.rename(tmp_path / name))["requests"] > 100


def test_equal_requests_make_equal_bytes(tmp_path: Path) -> None:
    made = deploy(rate_rps=100.0, duration_s=50, arrivals="sessions")
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    generate_trace(made, first)
    generate_trace(made, second)
    assert first.read_bytes() == second.read_bytes()


def test_a_minimal_trace_uses_each_tenants_first_adapter(tmp_path: Path) -> None:
    tenants = [{"name": "tenant", "count": 2, "adapters": 3}, {"name": "base", "adapters": 0}]
    path = small(
        tmp_path / "t.parquet", tenant=["tenant-0001", "tenant-0000", "base-0000", "base-0000"]
    )
    block = requests_of(deploy(tenants=tenants, trace=str(path)))
    assert block.tenant.tolist() == [1, 0, 2, 2]
    assert block.adapter.tolist() == [3, 0, -1, -1]
    assert block.session.tolist() == [-1] * 4
    assert block.priority.tolist() == [0] * 4
    assert block.prefix_hashes is None


def test_a_null_adapter_is_the_base_model(tmp_path: Path) -> None:
    path = small(
        tmp_path / "t.parquet",
        adapter=["tenant-0001", None, "", "tenant-0002"],
        session=[7, None, 7, 8],
        priority=[1, None, 0, -3],
    )
    block = requests_of(deploy(trace=str(path)))
    assert block.adapter.tolist() == [1, -1, -1, 2]
    assert block.session.tolist() == [7, -1, 7, 8]
    assert block.priority.tolist() == [1, 0, 0, -3]


def test_a_column_of_nothing_but_nulls_is_no_column(tmp_path: Path) -> None:
    path = small(tmp_path / "t.parquet", adapter=[None] * 4, session=[None] * 4)
    block = requests_of(deploy(trace=str(path)))
    assert block.adapter.tolist() == [-1] * 4
    assert block.session.tolist() == [-1] * 4


def test_replay_is_sped_up_and_cut(tmp_path: Path) -> None:
    path = str(small(tmp_path / "t.parquet"))
    assert requests_of(deploy(trace=path, rate_scale=2.0)).arrival_s.tolist() == [0, 0.5, 0.5, 2]
    assert requests_of(deploy(trace=path, duration_s=4.0)).arrival_s.tolist() == [0, 1, 1]
    assert requests_of(deploy(trace=path, duration_s=4.0, rate_scale=2.0)).arrival_s[-1] == 2
    assert requests_of(deploy(trace=path, max_requests=2)).arrival_s.tolist() == [0, 1]
    assert open_traffic(deploy(trace=path, max_requests=2)).total_requests == 2
    assert open_traffic(deploy(trace=path)).total_requests == 4
    assert open_traffic(deploy(trace=path, duration_s=4.0)).total_requests is None


def test_hashes_need_a_block_that_the_kv_blocks_divide(tmp_path: Path) -> None:
    path = small(tmp_path / "t.parquet", prefix_hashes=[[1], [2, 3], [4, 5], [6, 7, 8]])
    with pytest.raises(UserError, match="how many tokens a hash stands for"):
        open_traffic(deploy(trace=str(path)))
    traffic = open_traffic(deploy(trace=str(path), prefix_block_tokens=16))
    assert traffic.prefix_block_tokens == 16
    assert next(traffic.blocks()).prefix_hashes == [[1], [2, 3], [4, 5], [6, 7, 8]]
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"simlora.prefix_block_tokens": "24"}), path)
    with pytest.raises(UserError, match=r"no multiple of engine\.kv_block_tokens"):
        open_traffic(deploy(trace=str(path)))


def test_empty_hash_lists_are_allowed(tmp_path: Path) -> None:
    path = small(tmp_path / "t.parquet", prefix_hashes=[[1], None, [], [6, 7, 8]])
    block = requests_of(deploy(trace=str(path), prefix_block_tokens=16))
    assert block.prefix_hashes == [[1], [], [], [6, 7, 8]]


def test_csv_may_have_crlf_a_byte_order_mark_and_blanks(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    header = "arrival_s,tenant,prompt_tokens,output_tokens,adapter,prefix_hashes"
    rows = ["0.5,tenant-0001, 17 ,3,,1 2", "1e0,tenant-0000,5.0,3,tenant-0000,"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([header, *rows, ""]).encode())
    block = requests_of(deploy(trace=str(path), prefix_block_tokens=16))
    assert block.arrival_s.tolist() == [0.5, 1.0]
    assert block.prompt_tokens.tolist() == [17, 5]
    assert block.adapter.tolist() == [-1, 0]
    assert block.prefix_hashes == [[1, 2], []]


def test_long_files_stream_in_blocks_whatever_their_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    made = deploy(rate_rps=100.0, max_requests=50_000)
    generate_trace(made, path)
    single = tmp_path / "single.parquet"
    pq.write_table(pq.read_table(path), single, row_group_size=10**6)
    many = tmp_path / "many.parquet"
    pq.write_table(pq.read_table(path), many, row_group_size=997)
    for file in (path, single, many):
        blocks = list(open_traffic(deploy(trace=str(file))).blocks())
        assert max(map(len, blocks)) <= BLOCK_ROWS
        assert sum(map(len, blocks)) == 50_000


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"

    def interrupted() -> None:
        with TraceWriter(path, None) as writer:
            for _, rows in open_trace(small(tmp_path / "source.parquet")).rows():
                writer.write(rows)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [file.name for file in tmp_path.iterdir()] == ["source.parquet"]


def test_a_workload_that_ends_before_its_first_request_makes_no_trace(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no request"):
        generate_trace(deploy(rate_rps=1e-9, duration_s=1), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_description_counts_what_is_there(tmp_path: Path) -> None:
    path = small(
        tmp_path / "t.parquet",
        adapter=["tenant-0001", None, "tenant-0001", "tenant-0002"],
        session=[1, 1, None, None],
        prompt_tokens=[32, 32, 48, 32],
        prefix_hashes=[[1, 2], [1, 3], [1, 2, 4], [1, 3]],
    )
    described = describe_trace(path, 16)
    assert described["requests"] == 4
    assert described["span_s"] == 4.0
    assert described["rate_rps"] == 0.75
    assert described["gap_cv"] == pytest.approx(np.std([1, 0, 3]) / np.mean([1, 0, 3]))
    assert described["prompt_tokens"] == {"mean": 36, "p50": 32, "p95": 48, "p99": 48, "max": 48}
    assert described["tenants"]["largest"] == "tenant-0001"
    assert described["tenants"]["largest_share"] == 0.5
    assert described["adapters"] == {"count": 2, "base_model_share": 0.25}
    assert described["session_share"] == 0.5
    prefix = described["prefix_cache"]
    assert prefix["hit_share_per_adapter"] == pytest.approx(32 / 144)
    assert prefix["hit_share_if_shared"] == pytest.approx((16 + 32 + 32) / 144)
