"""A measured run as `calibrate --from` reads it: `runs.csv`, a table of one row."""

from __future__ import annotations

import csv

from simlora.results import files
from simlora.results.result import Result

_LATENCIES = ("tpot_s", "itl_s", "ttft_s", "e2e_s")
_RATES = ("requests_per_s", "input_tokens_per_s", "output_tokens_per_s")


def write_run_table(result: Result) -> None:
    """Write it into the directory of a result, whose resolved scenario it names. Figures that there
    are not stay blank; nothing is written if no answer had a second token."""
    latency, throughput = result.summary["latency"], result.summary["throughput"]
    row = {"scenario": files.RESOLVED_SCENARIO}
    for name in _LATENCIES:
        mean = latency[name]["mean"]
        row[f"{name.removesuffix('_s')}_mean_s"] = "" if not mean else repr(mean)
    for name in _RATES:
        row[name] = "" if not throughput[name] else repr(throughput[name])
    if not (row["tpot_mean_s"] or row["itl_mean_s"]):
        return
    with (result.directory / files.RUN_TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerow(row)
