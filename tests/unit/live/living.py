"""Small live runs: a model of some thousand parameters on the CPU, and each request alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simlora.live.embedded import Embedded
from simlora.live.limits import served_here
from simlora.live.run import Look, run_live
from simlora.live.tokens import TokenSource
from simlora.results.decision_file import read_decisions
from simlora.results.decisions import Line
from simlora.results.files import DECISIONS
from simlora.results.result import Result
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.memory import plan_memory
from simlora.serving.page_pool import KV
from simlora.workload.requests import requests_of
from tests.simulating import Ask, traffic_of

torch.set_num_threads(1)

# A scenario that goes on until somebody ends it.
LONG = """
name: long
model: {model}
fleet: [{{gpu: cpu}}]
tenants: [{{name: tenant, count: 2, adapter: {{rank: 4}}}}]
workload:
  {{duration_s: 10000, rate_rps: 20, prompt_tokens: {{fixed: 8}}, output_tokens: {{fixed: 8}}}}
engine: {{max_model_len: 64, max_num_seqs: 4, memory: {{kv_cache_tokens: 1024}}}}
run: {{report: false}}
"""

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 211,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
ADAPTER_TOKENS = 64  # of KV that an adapter of rank 4 takes the memory of


def live_scenario(folder: Path, *, adapters: int = 4, **engine: Any) -> Scenario:
    """Tenants with an adapter of rank 4 each, on a model whose config.json goes to `folder`."""
    config = folder / "config.json"
    config.write_text(json.dumps(CONFIG))
    return Scenario.model_validate(
        {
            "name": "living",
            "model": str(config),
            "fleet": [{"gpu": "cpu"}],
            "tenants": [{"name": "tenant", "count": adapters, "adapter": {"rank": 4}}],
            "workload": {"rate_rps": 1.0},
            "engine": {
                "max_model_len": 96,
                "max_num_seqs": 6,
                "max_num_batched_tokens": 32,
                "kv_block_tokens": 4,
                "memory": {"kv_cache_tokens": 512},
            }
            | engine,
            "timing": {"profile": "roofline"},
        }
    )


def crowd(count: int, adapters: int, seed: int = 0, within_s: float = 0.2) -> list[Ask]:
    """Requests of all tenants at nearly the same time; those of an adapter begin alike."""
    random = np.random.default_rng(seed)
    asks = []
    for arrival_s in np.sort(random.uniform(0, within_s, count)).tolist():
        adapter = int(random.integers(-1, adapters))
        hashes = tuple(100 * (adapter + 1) + block for block in range(int(random.integers(0, 4))))
        asks.append(
            Ask(
                arrival_s,
                adapter,
                prompt_tokens=int(random.integers(4, 60)),
                output_tokens=int(random.integers(1, 30)),
                hashes=hashes,
            )
        )
    return asks


@dataclass(slots=True)
class Lived:
    """A live run that has ended, in its directory."""

    scenario: Scenario
    asks: Sequence[Ask]
    result: Result
    answers: dict[int, list[int]] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        return self.result.summary

    @property
    def decisions(self) -> list[Line]:
        return list(read_decisions(self.result.directory / DECISIONS))

    def decided(self, decision: str) -> list[Line]:
        return [line for line in self.decisions if line["decision"] == decision]

    @property
    def statuses(self) -> list[str]:
        rows = self.result.requests.sort_values("request")
        return [str(status) for status in rows["status"]]


def live(
    scenario: Scenario,
    asks: Sequence[Ask],
    out: Path,
    look: Look | None = None,
    duration_s: float | None = None,
) -> Lived:
    """Serve the asks, comparing device and scheduler at every step boundary."""
    answers: dict[int, list[int]] = {}
    result = run_live(
        scenario,
        out,
        device="cpu",
        look=look or (lambda *_: None),
        answers=answers,
        traffic=traffic_of(expand(scenario), asks, duration_s),
        check=True,
    )
    return Lived(scenario, asks, result, answers)


def alone(scenario: Scenario, asks: Sequence[Ask], folder: Path) -> dict[int, list[int]]:
    """What the engine says to each request with nobody else there: its prompt in one step, then
    token by token, in a pool with room for everything."""
    served, _ = served_here(scenario)
    deployment = expand(served)
    traffic = traffic_of(deployment, asks)
    engine = Embedded(deployment, plan_memory(deployment, 0), "cpu")
    tokens = TokenSource(engine.shape.vocab_size, scenario.seed, traffic.prefix_block_tokens)
    said: dict[int, list[int]] = {}
    for request in requests_of(deployment, traffic):
        script, slot = tokens.script(request), -1
        if request.adapter >= 0:
            adapter = deployment.adapters[request.adapter]
            where = folder / f"alone-{adapter.index}"
            engine.write(where, adapter, scenario.seed + adapter.index)
            slot, copied = engine.upload(engine.read(where))
            copied.result()
        total = len(script.tokens)
        blocks = engine.pool.take_blocks(-(-total // engine.pool.block_tokens), KV)
        answer = said[request.index] = list[int]()
        start, end = 0, request.prompt_tokens
        while len(answer) < request.output_tokens:
            part = (script.tokens[start:end], start, blocks, slot)
            (token,) = engine.run([], [part]) if start == 0 else engine.run([part], [])
            answer.append(token)
            if script.known <= end < total:
                script.tokens[end] = token
            start, end = end, end + 1
        engine.pool.release_blocks(blocks, KV)
        if slot >= 0:
            engine.pool.unload(slot)
    engine.close()
    return said
