"""The traffic of a scenario, whatever its source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from simlora.scenario.deployment import Deployment
from simlora.scenario.traffic import DEFAULT_DURATION_S, SessionArrivals, SessionShape
from simlora.workload.blocks import DEFAULT_PREFIX_BLOCK_TOKENS, Traffic
from simlora.workload.sessions import session_requests
from simlora.workload.synthetic import independent_requests


def open_traffic(deployment: Deployment) -> Traffic:
    """Return the stream of requests that `deployment.scenario.workload` describes.

    Equal scenarios and seeds give equal streams, each time it is opened and in every process.

    Raises:
        UserError: a trace that cannot be read or does not fit the scenario's tenants, or a
            synthetic workload that cannot be drawn.
    """
    workload = deployment.scenario.workload
    if workload.trace is not None:
        from simlora.workload.replay import replay  # needs pyarrow

        return replay(deployment, Path(workload.trace))

    if workload.duration_s is None and workload.max_requests is None:
        workload = workload.model_copy(update={"duration_s": DEFAULT_DURATION_S})
        scenario = deployment.scenario.model_copy(update={"workload": workload})
        deployment = replace(deployment, scenario=scenario)
    block_tokens = _synthetic_block_tokens(deployment)
    sessions = workload.arrivals
    if isinstance(sessions, SessionArrivals) or sessions == "sessions":
        shape = sessions.sessions if isinstance(sessions, SessionArrivals) else SessionShape()
        blocks = session_requests(deployment, shape, block_tokens)
    else:
        blocks = independent_requests(deployment)
    known = workload.max_requests if workload.duration_s is None else None
    return Traffic(blocks, known, workload.duration_s, block_tokens)


def _synthetic_block_tokens(deployment: Deployment) -> int:
    """Return the scenario's prefix block, or 64 tokens made a multiple of the KV block."""
    asked = deployment.scenario.workload.prefix_block_tokens
    if asked is not None:
        return asked
    kv_block = deployment.scenario.engine.kv_block_tokens
    return -(-DEFAULT_PREFIX_BLOCK_TOKENS // kv_block) * kv_block
