"""`requests.parquet`: one row a request, written a row group at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from simlora.results.arrow import coded, numbers, strings
from simlora.results.columns import RequestColumns
from simlora.results.versions import VersionStatistics
from simlora.serving.request import SOURCE_NAMES, STATUS_NAMES

_WHOLE_DICTIONARY = 4096  # names beyond it: each row group carries only those it uses
_NAME = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("request", pa.int64()),
        pa.field("tenant", _NAME),
        pa.field("adapter", _NAME),
        pa.field("tier", _NAME),
        pa.field("status", _NAME),
        pa.field("reason", _NAME),
        pa.field("adapter_source", _NAME),
        pa.field("replica", pa.int16()),
        pa.field("session", pa.int64()),
        pa.field("arrival_s", pa.float64()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("output_tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),
        pa.field("queue_s", pa.float64()),
        pa.field("adapter_wait_s", pa.float64()),
        pa.field("prefill_s", pa.float64()),
        pa.field("decode_s", pa.float64()),
        pa.field("preempted_s", pa.float64()),
        pa.field("ttft_s", pa.float64()),
        pa.field("tpot_s", pa.float64()),
        pa.field("e2e_s", pa.float64()),
        pa.field("finish_s", pa.float64()),
        pa.field("preemptions", pa.int32()),
        pa.field("attempts", pa.int32()),
        pa.field("base_fallback", pa.bool_()),
    ]
)


class RequestsFile:
    """The open file. Rows come in the order of the end of requests; null is "there was none":
    no adapter, session, replica or reason, or an instant that never came. With `versions` a last
    column names the version of the adapter that a request was assigned."""

    def __init__(
        self,
        path: Path,
        tenants: Sequence[str],
        adapters: Sequence[str],
        tiers: Sequence[str],
        versions: VersionStatistics | None = None,
    ) -> None:
        self._names = {"tenant": tenants, "adapter": adapters, "tier": tiers}
        self._schema, self._versions = SCHEMA, versions
        if versions is not None:
            self._schema = SCHEMA.append(pa.field("version", _NAME))
            names = list(dict.fromkeys(versions.names()))
            codes = [names.index(name) for name in versions.names()]
            self._version_names = strings(names)
            self._version_codes = np.array([*codes, -1])  # the last: an adapter without versions
        self._dictionaries = {
            name: strings(names)
            for name, names in self._names.items()
            if len(names) <= _WHOLE_DICTIONARY
        }
        # "unfinished" stands for two states of a request, once is enough in a dictionary
        statuses = list(dict.fromkeys(STATUS_NAMES))
        self._statuses = strings(statuses)
        self._status_codes = np.array([statuses.index(name) for name in STATUS_NAMES])
        self._sources = strings(SOURCE_NAMES)
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="snappy",
            use_dictionary=[
                field.name for field in self._schema if pa.types.is_dictionary(field.type)
            ],
        )

    def write(self, columns: RequestColumns) -> None:
        """Append the rows as one row group."""
        arrays: dict[str, Any] = {
            "request": numbers(columns.index),
            "tenant": self._named("tenant", columns.tenant),
            "adapter": self._named("adapter", columns.adapter),
            "tier": self._named("tier", columns.tier),
            "status": coded(self._status_codes[columns.status], self._statuses),
            "reason": _reasons(columns.reasons),
            "adapter_source": coded(columns.adapter_source, self._sources),
        }
        if self._versions is not None:
            cells = self._versions.cell_of[columns.adapter]
            arrays["version"] = coded(self._version_codes[cells], self._version_names)
        for field in SCHEMA:
            if field.name in arrays:
                continue
            values = getattr(columns, field.name)
            missing = None
            if field.name in ("replica", "session"):
                missing = values < 0
            elif field.name in ("ttft_s", "tpot_s", "e2e_s", "finish_s"):
                missing = np.isnan(values)
            arrays[field.name] = numbers(values, missing)
        self._writer.write_table(
            pa.Table.from_arrays(
                [arrays[name] for name in self._schema.names], schema=self._schema
            ),
            row_group_size=max(len(columns), 1),
        )

    def close(self) -> None:
        self._writer.close()

    def _named(self, column: str, codes: Any) -> Any:
        if column in self._dictionaries:
            return coded(codes, self._dictionaries[column])
        names = self._names[column]
        used, codes_of_used = np.unique(codes[codes >= 0], return_inverse=True)
        compact = np.full(len(codes), -1)
        compact[codes >= 0] = codes_of_used
        return coded(compact, strings([names[code] for code in used]))


def _reasons(reasons: list[str]) -> Any:
    known = {reason: code for code, reason in enumerate(dict.fromkeys(filter(None, reasons)))}
    codes = np.fromiter(
        (known.get(reason, -1) for reason in reasons), dtype=np.int32, count=len(reasons)
    )
    return coded(codes, strings(list(known)))
