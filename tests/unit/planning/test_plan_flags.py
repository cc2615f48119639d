"""Command lines of a planned fleet: every option is one that the server has, with a value that it
takes."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from simlora.planning.search.flags import Server, known_options, servers
from simlora.scenario.schema import Scenario
from tests.unit.planning.planned import planned

HOT = {"vllm": "max_loras", "sglang": "max_loras_per_batch"}
KINDS = {"int": int, "float": float, "text": str}


def parser_of(server: str) -> argparse.ArgumentParser:
    """A parser that takes what the server's list of options says, and nothing else."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for option, kind in known_options()[server]["options"].items():
        if kind == "flag":
            parser.add_argument(option, action="store_true")
        elif isinstance(kind, list):
            many = "+" if option == "--lora-target-modules" else None
            parser.add_argument(option, choices=kind, nargs=many)
        else:
            parser.add_argument(option, type=KINDS[kind])
    if server == "vllm":
        parser.add_argument("model")
    return parser


def parsed(server: Server) -> dict[str, Any]:
    known = known_options()[server.name]["command"]
    assert list(server.command[: len(known)]) == known
    return vars(parser_of(server.name).parse_args(list(server.command[len(known) :])))


SCENARIOS: dict[str, Scenario] = {
    "slots": planned(),
    "unified": planned(engine__memory={"mode": "unified"}),
    "bounded": planned(engine__memory={"mode": "unified"}, adapters__hot__max_adapters=12),
    "fp8": planned(model__weights="fp8"),
    "int4": planned(model__weights="int4"),
    "int8": planned(model__weights="int8"),
    "nvfp4": planned(model__weights="nvfp4"),
    "two-gpus": planned(fleet=[{"gpu": "h200", "tensor_parallel": 2, "replicas": 3}]),
    "no-caching": planned(
        engine__prefix_cache__enabled=False,
        engine__scheduler__chunked_prefill=False,
        engine__memory__kv_cache_tokens=20_000,
        adapters__hot__eviction="fifo",
    ),
    "odd-rank": planned(
        tenants__0__adapter={"rank": 24, "targets": "qv"}, engine__memory__max_lora_rank=24
    ),
    "own-policy": planned(adapters__hot__eviction="2q+priority", engine__max_cpu_loras=30),
}


@pytest.mark.parametrize("case", SCENARIOS)
def test_every_server_takes_its_command_line(case: str) -> None:
    found = servers(SCENARIOS[case])
    assert [server.name for server in found] == ["vllm", "sglang", "lorax"]
    for server in found:
        parsed(server)
        assert server.checked in server.source or "commit" in server.checked


def test_what_was_planned_is_what_the_command_lines_say() -> None:
    vllm, sglang, lorax = map(parsed, servers(SCENARIOS["two-gpus"]))
    assert vllm["model"] == sglang["model_path"] == lorax["model_id"]
    assert vllm["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert vllm["tensor_parallel_size"] == sglang["tp_size"] == lorax["num_shard"] == 2
    assert vllm["max_loras"] == sglang["max_loras_per_batch"] == lorax["max_active_adapters"] == 16
    assert vllm["max_num_seqs"] == sglang["max_running_requests"] == 256
    assert vllm["max_num_batched_tokens"] == sglang["chunked_prefill_size"] == 2048
    assert vllm["max_model_len"] == sglang["context_length"] == lorax["max_total_tokens"] == 4096
    assert 0.5 < sglang["mem_fraction_static"] < vllm["gpu_memory_utilization"]


def test_a_rank_that_a_server_does_not_take_is_padded_and_said() -> None:
    vllm, sglang, _ = servers(SCENARIOS["odd-rank"])
    assert parsed(vllm)["max_lora_rank"] == "32"
    assert any("rank 24 to 32" in note for note in vllm.notes)
    assert parsed(sglang)["max_lora_rank"] == 24


def test_where_a_server_differs_from_what_was_simulated_is_said() -> None:
    vllm, sglang, _ = servers(SCENARIOS["own-policy"])
    assert any("no eviction policy 2q+priority" in note for note in vllm.notes)
    assert parsed(vllm)["max_cpu_loras"] == 30
    _, sglang, _ = servers(SCENARIOS["no-caching"])
    assert parsed(sglang)["lora_eviction_policy"] == "fifo"
    assert parsed(sglang)["disable_radix_cache"]
    assert not any("eviction" in note for note in sglang.notes)
    assert any("share one pool" in note for note in servers(SCENARIOS["unified"])[0].notes)


def test_slots_for_a_shared_pool_leave_room_for_the_longest_request() -> None:
    many = planned(
        engine__memory={"mode": "unified"}, engine__max_model_len=None, tenants__0__count=2000
    )
    for server in servers(many)[:2]:
        assert not any("may not fit" in note for note in server.notes)
        assert parsed(server)[HOT[server.name]] < 2020
    crowded = many.with_overrides({"adapters.hot.max_adapters": 1500})
    vllm = servers(crowded)[0]
    assert parsed(vllm)["max_loras"] == 1500
    assert any("may not fit: fleet.0: 1500 slots of rank 16 take" in note for note in vllm.notes)


def test_each_list_says_what_it_was_read_from() -> None:
    for known in known_options().values():
        assert known["version"] and "read 20" in known["source"]
