"""Whether a workload's prefix hashes fit an engine's KV blocks."""

from __future__ import annotations

from simlora.errors import UserError
from simlora.scenario.schema import Scenario
from simlora.workload.blocks import Traffic


def check_prefix_blocks(scenario: Scenario, traffic: Traffic) -> None:
    """Raises UserError unless a prefix hash stands for whole KV blocks, if prefixes are cached."""
    engine = scenario.engine
    if engine.prefix_cache.enabled and traffic.prefix_block_tokens % engine.kv_block_tokens:
        raise UserError(
            f"engine.kv_block_tokens: {engine.kv_block_tokens} does not divide the "
            f"{traffic.prefix_block_tokens} tokens that a prefix hash of the workload stands for; "
            "choose a divisor or disable engine.prefix_cache"
        )
