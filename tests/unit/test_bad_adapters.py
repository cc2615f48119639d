"""Mistakes in where adapters live, how they are loaded and who asks, each in a sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_bad_scenarios import GOOD, complaint, with_line, write

WRONG_LINES: list[tuple[int, str, str, str]] = [
    # line, what stands there, the field that is named, what is said of it
    (
        7,
        "workload: {rate_rps: 3, popularity: {top: {count: 2, share: 0.9}}}",
        "workload.popularity.top.count",
        "must be less than the 2 adapters there are, not 2",
    ),
    (
        7,
        "workload: {rate_rps: 3, popularity: {top: {count: 1, share: 1.5}}}",
        "workload.popularity.top.share",
        "must be at most 1, not 1.5",
    ),
    (
        7,
        "workload: {rate_rps: 3, popularity: {top: {count: 1}}}",
        "workload.popularity.top.share",
        "is missing",
    ),
    (
        7,
        "workload: {rate_rps: 3, clients: {retries: 101}}",
        "workload.clients.retries",
        "must be at most 100, not 101",
    ),
    (7, "workload: {rate_rps: 3, clients: 3}", "workload.clients", "a mapping of fields, not 3"),
    (8, "adapters: {hot: {capacity_gb: 0}}", "adapters.hot.capacity_gb", "greater than 0, not 0"),
    (8, "adapters: {hot: {when_full: evict}}", "adapters.hot.when_full", '"evict" is not known'),
    (8, "adapters: {hot: {when_full: evict}}", "adapters.hot.when_full", "wait or preempt"),
    (
        8,
        "adapters: {hot: {adaptive: {min_adapters: 3, max_adapters: 2}}}",
        "adapters.hot.adaptive",
        "min_adapters (3) must not be greater than max_adapters (2)",
    ),
    (8, "adapters: {hot: {adaptive: {}}}", "adapters.hot.adaptive.max_adapters", "is missing"),
    (
        8,
        "adapters: {hot: {adaptive: {max_adapters: 8, window_s: 0}}}",
        "adapters.hot.adaptive.window_s",
        "greater than 0, not 0",
    ),
    (
        8,
        "adapters: {hot: {adaptive: {max_adapters: 8}, max_adapters: 8}}",
        "adapters.hot.adaptive",
        "and so does max_adapters: keep one",
    ),
    (
        8,
        "adapters: {hot: {adaptive: {max_adapters: 9}, pinned_tiers: [gold]}}",
        "adapters.hot.pinned_tiers",
        "2 pinned adapters leave no room for the others: only 1 may be hot",
    ),
    (8, "adapters: {warm: {inclusive: yes}}", "adapters.warm.inclusive", 'not the text "yes"'),
    (8, "adapters: {nvme: {inclusive: 1}}", "adapters.nvme.inclusive", "true or false, not 1"),
    (
        8,
        "adapters: {warm: {registration_s: -1}}",
        "adapters.warm.registration_s",
        "at least 0, not -1",
    ),
    (
        8,
        "adapters: {nvme: {deserialization_gbps: 0}}",
        "adapters.nvme.deserialization_gbps",
        "at least 0.0001, not 0",
    ),
    (8, "adapters: {store: {tls_s: -0.1}}", "adapters.store.tls_s", "at least 0, not -0.1"),
    (8, "adapters: {store: {tls_ms: 3}}", "adapters.store.tls_ms", "did you mean tls_s?"),
    (
        8,
        "adapters: {store: {cross_region_s: .inf}}",
        "adapters.store.cross_region_s",
        "finite number, not inf",
    ),
    (
        8,
        "adapters: {store: {decompression_gbps: 0}}",
        "adapters.store.decompression_gbps",
        "at least 0.0001, not 0",
    ),
    (
        8,
        "adapters: {loading: {failure_rate: 1.1}}",
        "adapters.loading.failure_rate",
        "at most 1, not 1.1",
    ),
    (
        8,
        "adapters: {loading: {failure_rate: .nan}}",
        "adapters.loading.failure_rate",
        "finite number, not nan",
    ),
    (
        8,
        "adapters: {loading: {corrupt: pro-0000}}",
        "adapters.loading.corrupt",
        'must be a list, not the text "pro-0000"',
    ),
    (8, "adapters: {loading: {retries: 101}}", "adapters.loading.retries", "at most 100, not 101"),
    (8, "adapters: {loading: {backoff_s: -1}}", "adapters.loading.backoff_s", "least 0, not -1"),
    (
        8,
        "adapters: {prefetch: {session_start: yes}}",
        "adapters.prefetch.session_start",
        'not the text "yes"',
    ),
    (
        8,
        "adapters: {prefetch: {cadence: true}}",
        "adapters.prefetch.cadence",
        "a mapping of fields, not true",
    ),
    (
        8,
        "adapters: {prefetch: {cadence: {keep_s: -1}}}",
        "adapters.prefetch.cadence.keep_s",
        "at least 0, not -1",
    ),
    (8, "adapters: {prefetch: {top_k: -1}}", "adapters.prefetch.top_k", "at least 0, not -1"),
    (8, "adapters: {prefetch: {topk: 3}}", "adapters.prefetch.topk", "did you mean top_k?"),
    (
        8,
        "adapters: {prefetch: {rate_limit_per_s: 0}}",
        "adapters.prefetch.rate_limit_per_s",
        "greater than 0, not 0",
    ),
    (
        8,
        "adapters: {prefetch: {session_gap_s: 0}}",
        "adapters.prefetch.session_gap_s",
        "greater than 0, not 0",
    ),
    (8, "adapters: {initial_tier: hot}", "adapters.initial_tier", "warm, nvme or store"),
    (8, "adapters: {cold_start: fail}", "adapters.cold_start", "wait, base_model or reject"),
    (8, "adapters: {retry_after_s: -1}", "adapters.retry_after_s", "at least 0, not -1"),
]


@pytest.mark.parametrize(("line", "text", "field", "said"), WRONG_LINES)
def test_a_wrong_line_is_named_with_its_field(
    tmp_path: Path, line: int, text: str, field: str, said: str
) -> None:
    path = write(tmp_path, GOOD + text + "\n" if line == 8 else with_line(line, text))
    sentence = complaint(path)
    assert re.match(re.escape(f"{path}:{line}: {field}: "), sentence)
    assert said in sentence


@pytest.mark.parametrize("field", ["capacity_gb: 2", "adaptive: {max_adapters: 4}"])
def test_slots_are_bounded_by_their_number_alone(tmp_path: Path, field: str) -> None:
    slots = "engine: {memory: {mode: slots, max_loras: 8, max_lora_rank: 64}}\n"
    path = write(tmp_path, GOOD + slots + f"adapters: {{hot: {{{field}}}}}\n")
    name = field.partition(":")[0]
    assert complaint(path) == (
        f"{path}:9: adapters.hot.{name}: belongs to unified memory; with slots it is "
        "engine.memory.max_loras"
    )


@pytest.mark.parametrize("name", ["pro", "pro-0002", "pro-0000/0"])
def test_a_corrupt_adapter_must_exist(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, GOOD + f"adapters: {{loading: {{corrupt: [pro-0001, {name}]}}}}\n")
    sentence = complaint(path)
    assert f'adapters.loading.corrupt.1: no adapter "{name}"' in sentence
    assert "there is pro-0000" in sentence
