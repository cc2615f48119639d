"""A small table of runs for the tests."""

from __future__ import annotations

import csv
from pathlib import Path

ROW = {
    "run_id": "suite/llama/_8_8_16_",
    "config_id": "1",
    "base_model": "llama-3.1-8b-instruct",
    "vllm_engine": "V1 0.8.5-fork",
    "n_adapters": "8",
    "max_loras_slots": "8",
    "max_cpu_loras": "8",
    "max_lora_rank": "16",
    "max_num_seqs": "2048",
    "adapter_rank_list": "8|16",
    "adapter_rate_list_rps": "0.4|0.2",
    "dataset": "ShareGPT_V3_unfiltered_cleaned_split.json",
    "window_s": "60",
    "status": "ok",
    "kv_cache_tokens": "",
    "load_regime": "underloaded",
    "total_throughput_tps": "1000",
    "request_throughput_rps": "2.4",
    "mean_tpot_ms": "16",
    "mean_itl_ms": "16.5",
    "mean_ttft_ms": "50",
    "flag_client_queue_cap": "0",
    "flag_client_lag": "0.0",
}
REFUSED = {
    "config_id": "2",
    "run_id": "suite/llama/_384_384_32_",
    "n_adapters": "384",
    "max_loras_slots": "384",
    "max_lora_rank": "32",
    "status": "oom",
    "load_regime": "infeasible",
    "total_throughput_tps": "",
    "request_throughput_rps": "",
    "mean_tpot_ms": "",
    "mean_itl_ms": "",
    "mean_ttft_ms": "",
    "flag_client_queue_cap": "",
    "flag_client_lag": "",
}


def write_table(path: Path, *changes: dict[str, str]) -> Path:
    """Write one row for each set of changes to ROW."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows(ROW | change for change in changes)
    return path
