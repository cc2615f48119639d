"""What simlora says of a published run, in the terms in which the run was measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simlora.errors import UserError
from simlora.results.recorder import Recorder
from simlora.results.result import Result, scratch_directory
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from simlora.scenario.traffic import Length
from simlora.serving.memory import plan_memory
from simlora.sim.facts import gather_facts
from simlora.validation.observer import seen_ttft_s, stalls
from simlora.validation.window import TAIL_S, ClientSimulation
from simlora.workload.lengths import Side, length_sampler
from simlora.workload.popularity import targets_of
from simlora.workload.traffic import open_traffic

if TYPE_CHECKING:
    import pandas as pd

# A run that completes this share of the tokens offered to it takes what comes.
UNSATURATED = 0.95
_LENGTH_DRAWS = 400_000


@dataclass(frozen=True, slots=True)
class Prediction:
    """`metrics` by the names of `rows.MEASURED`, without those that the run does not tell;
    `reason`: why the server would not start. `simulated_s`: the window that was simulated, the rest
    being extrapolated; `extrapolates`: in what the run went beyond the profile's measurements;
    `scaled_from`: what those were of, if of other hardware or another model; `wall_s`: real seconds
    it took."""

    feasible: bool
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    kv_cache_tokens: int | None = None
    extrapolates: tuple[str, ...] = ()
    scaled_from: str | None = None
    simulated_s: float = 0.0
    wall_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Client:
    """How the run was measured. `cap`: requests are lost while that many wait (None: none are);
    `monitored`: the server's metrics were polled all the while (see `observer`)."""

    cap: int | None = None
    monitored: bool = False


def predict(scenario: Scenario, client: Client | None = None, shorten: bool = True) -> Prediction:
    """Simulate a run's scenario over its window, which `workload.duration_s` gives.

    Only requests completed in the window count, as measuring clients have it. `shorten` ends the
    simulation of a run at its client's cap when it has become stationary, and extrapolates it to
    the window's end.

    Raises UserError for whatever is wrong with the scenario but memory that does not suffice: that
    is a prediction.
    """
    started_s = time.perf_counter()
    client = client or Client()
    deployment = expand(scenario)
    try:
        plans = [plan_memory(deployment, pool) for pool in range(len(scenario.fleet))]
    except UserError as error:
        return Prediction(False, str(error), wall_s=time.perf_counter() - started_s)
    window_s = scenario.workload.duration_s
    if window_s is None:
        raise UserError("workload.duration_s: is needed, it is the window of the measurement")
    working = scratch_directory()
    recorder = Recorder(deployment, Path(working.name), warmup_s=0.0)
    simulation = ClientSimulation(
        deployment, open_traffic(deployment), recorder, client.cap, shorten
    )
    interrupted = simulation.run()
    if interrupted:
        raise KeyboardInterrupt
    facts = gather_facts(deployment, simulation, 0.0, interrupted)
    result = recorder.close(facts, working)
    metrics = client_metrics(result, facts.span_s, window_s, client)
    if simulation.capped_since_s is None:
        _without_luck(metrics, result.requests, deployment, window_s)
    metrics["running_mean"] = facts.batch.mean_running * facts.batch.busy_s / facts.span_s
    return Prediction(
        feasible=True,
        metrics=metrics,
        kv_cache_tokens=sum(plan.kv_capacity_tokens for plan in plans),
        extrapolates=facts.timing.extrapolates,
        scaled_from=facts.timing.scaled_from,
        simulated_s=facts.span_s,
        wall_s=time.perf_counter() - started_s,
    )


def client_metrics(
    result: Result, span_s: float, window_s: float, client: Client
) -> dict[str, float]:
    """What `client` measures of a run that was simulated for `span_s` of its window, by the names
    of `rows.MEASURED`; those that the run does not tell are left out."""
    requests = result.requests
    metrics = _metrics(requests, span_s, window_s)
    if client.monitored and "itl_mean_s" in metrics:
        step_s = metrics["itl_mean_s"]
        monitor = stalls(requests, span_s, step_s)
        requests = requests.assign(ttft_s=seen_ttft_s(requests, monitor))
        metrics = _metrics(requests, span_s, window_s)
        metrics["itl_mean_s"] /= 1.0 - monitor.merged_share(step_s, result.timeline)
    return metrics


def _metrics(requests: pd.DataFrame, span_s: float, window_s: float) -> dict[str, float]:
    """What a client measures of the requests completed in the window.

    Where the simulation ended before the window, its last part goes on as it was.
    """
    done = requests[requests["status"] == "completed"]
    if done.empty:
        return {"total_tokens_per_s": 0.0, "output_tokens_per_s": 0.0, "requests_per_s": 0.0}
    weights = np.ones(len(done))
    if span_s < window_s:
        in_tail = done["finish_s"].to_numpy() > span_s - TAIL_S
        weights += (window_s - span_s) / TAIL_S * in_tail
    output = done["output_tokens"].to_numpy()
    total = output + done["prompt_tokens"].to_numpy()
    ttft_s, tpot_s = done["ttft_s"].to_numpy(), done["tpot_s"].to_numpy()
    several = output > 1
    order = np.argsort(ttft_s)
    half = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    metrics = {
        "total_tokens_per_s": float(total @ weights) / window_s,
        "output_tokens_per_s": float(output @ weights) / window_s,
        "requests_per_s": float(weights.sum()) / window_s,
        "ttft_mean_s": float(np.average(ttft_s, weights=weights)),
        "ttft_median_s": float(ttft_s[order][half]),
    }
    if several.any():
        tpot_s, weights, gaps = tpot_s[several], weights[several], output[several] - 1
        metrics["tpot_mean_s"] = float(np.average(tpot_s, weights=weights))
        metrics["itl_mean_s"] = float(np.average(tpot_s, weights=weights * gaps))
    return metrics


def _without_luck(
    metrics: dict[str, float], requests: pd.DataFrame, deployment: Deployment, window_s: float
) -> None:
    """Take the luck of the draw out of an unsaturated run's throughput.

    It is what is offered on average, less what the run left undone. (A control variate: requests
    and tokens offered are known exactly, and what was drawn of them is not what was measured.)
    """
    workload = deployment.scenario.workload
    prompt = _mean_tokens(workload.prompt_tokens, "prompt_tokens")
    output = _mean_tokens(workload.output_tokens, "output_tokens")
    rate_rps = targets_of(deployment).rate_rps
    drawn = {
        "requests_per_s": (len(requests), 1.0),
        "output_tokens_per_s": (requests["output_tokens"].sum(), output),
        "total_tokens_per_s": (
            (requests["prompt_tokens"] + requests["output_tokens"]).sum(),
            prompt + output,
        ),
    }
    for name, (count, each) in drawn.items():
        offered_per_s = float(count) / window_s
        if metrics[name] >= UNSATURATED * offered_per_s:
            metrics[name] += rate_rps * each - offered_per_s


@lru_cache
def _mean_of(length: str, side: Side) -> float:
    from pydantic import TypeAdapter

    parsed = TypeAdapter(Length).validate_json(length)
    random = np.random.default_rng(0)
    return float(length_sampler(parsed, side).sample(random, _LENGTH_DRAWS).mean())


def _mean_tokens(length: Length, side: Side) -> float:
    from pydantic import TypeAdapter

    return _mean_of(TypeAdapter(Length).dump_json(length).decode(), side)
