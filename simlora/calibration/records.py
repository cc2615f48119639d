"""What was measured of a machine, kept in a file from the first minute on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simlora.calibration.design import Rows, Shapes, rows_of_steps
from simlora.errors import UserError

if TYPE_CHECKING:
    from simlora.engine.bench import StepSize, Times
    from simlora.serving.batch_shape import BatchShape


class Records:
    """The measured table: one row a step or copy, in a Parquet file that says what it is of."""

    def __init__(self, path: Path, facts: Mapping[str, str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        self.facts = dict(facts)
        self._rows: list[dict[str, Any]] = []
        if not path.exists():
            return
        try:
            found = pq.read_table(path)
            theirs = json.loads((found.schema.metadata or {}).get(b"simlora", b"null"))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        if theirs != self.facts:
            raise UserError(
                f"{path}: holds measurements of something else ({theirs}); remove it, or choose "
                "another --out"
            )
        self._rows = found.to_pylist()

    def save(self) -> None:
        """Write all rows; the file is replaced in one go."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._rows:
            return
        table = pa.Table.from_pylist(self._rows)
        part = self.path.with_suffix(".parquet.part")
        pq.write_table(table.replace_schema_metadata({"simlora": json.dumps(self.facts)}), part)
        part.replace(self.path)

    def rounds(self, size: StepSize) -> int:
        """How often a step has been measured."""
        key = _key(size)
        return sum(row["size"] == key for row in self._rows)

    def has_copies(self, rank: int) -> bool:
        return any(row["kind"] != "step" and row["rank"] == rank for row in self._rows)

    def add_step(self, size: StepSize, role: str, shape: BatchShape, times: Times) -> None:
        self._rows.append(
            {"kind": "step", "size": _key(size), "role": role, "rank": None, "bytes": None}
            | asdict(shape)
            | asdict(times)
        )

    def add_copy(self, rank: int, part: str, nbytes: int, times: Times) -> None:
        from simlora.serving.batch_shape import BatchShape

        nothing = dict.fromkeys(asdict(BatchShape()))
        self._rows.append(
            {"kind": part, "size": None, "role": None, "rank": rank, "bytes": nbytes}
            | nothing
            | asdict(times)
        )

    def steps(self, sizes: Iterable[StepSize]) -> tuple[Rows, Shapes]:
        """Those of the steps that have been measured as rows to fit, each by its middle round;
        of two by the quicker one."""
        wanted = {_key(size) for size in sizes}
        rounds: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows:
            if row["size"] in wanted:
                rounds.setdefault(row["size"], []).append(row)
        by_time = itemgetter("median_s")
        rows = [sorted(each, key=by_time)[(len(each) - 1) // 2] for each in rounds.values()]

        def column(name: str) -> np.ndarray:
            return np.array([row[name] for row in rows], dtype=np.float64)

        shapes = Shapes(
            tokens=column("prefill_tokens") + column("decode_seqs"),
            sequences=column("prefill_seqs") + column("decode_seqs"),
            decode_attended_tokens=column("decode_attended_tokens"),
            prefill_attended_tokens=column("prefill_attended_tokens"),
            passed_over=column("passed_over"),
            lora_tokens=column("lora_tokens"),
            lora_token_parameters=column("lora_token_parameters"),
            distinct_adapters=column("distinct_adapters"),
            distinct_adapter_parameters=column("distinct_adapter_parameters"),
            slots=np.zeros(len(rows)),
        )
        return rows_of_steps(shapes, column("median_s"), np.ones(len(rows))), shapes

    def loads(self) -> tuple[list[int], list[float]]:
        """Ranks and median seconds of the uploads."""
        uploads = [row for row in self._rows if row["kind"] == "upload"]
        return [row["rank"] for row in uploads], [row["median_s"] for row in uploads]

    def copies(self) -> dict[str, list[tuple[int, float]]]:
        """Bytes and median seconds of the parts of an adapter's way."""
        found: dict[str, list[tuple[int, float]]] = {}
        for row in self._rows:
            if row["kind"] != "step":
                found.setdefault(row["kind"], []).append((row["bytes"], row["median_s"]))
        return found


def _key(size: StepSize) -> str:
    return json.dumps(asdict(size))
