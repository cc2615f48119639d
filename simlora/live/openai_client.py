"""A live run on somebody's OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from ssl import SSLContext

import httpx
import numpy as np

from simlora import __version__
from simlora.errors import UserError
from simlora.live.arrivals import adapters_of
from simlora.live.facts import MEASURED
from simlora.live.openai_driver import OpenAIDriver
from simlora.live.openai_options import Names, ServerOptions
from simlora.live.openai_prompts import Bodies, Prompts
from simlora.live.openai_server import prepare
from simlora.live.openai_table import write_run_table
from simlora.live.signals import Interrupts
from simlora.results import files
from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.results.schema import MemoryFacts, PoolFacts, PrefixFacts, RunFacts, TimingFacts
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.loading import dump_resolved
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.serving.versions import Versions
from simlora.workload.blocks import Traffic
from simlora.workload.requests import requests_of
from simlora.workload.traffic import open_traffic

# Connections are shared out over so many pools: looking for a free one takes time that grows with
# the size of its pool.
_POOLS = 32
_CONNECT_S = 30.0
_LATE_S = 0.02  # of a request's sending that is worth a word

_UNKNOWN = MemoryFacts(page_bytes=0, pool_pages=0, weight_bytes=0, kv_capacity_tokens=0)

Note = Callable[[str], None]
Look = Callable[[OpenAIDriver, float], None]  # at a run, at a time of its clock


def run_openai(
    scenario: Scenario,
    out: str | Path,
    options: ServerOptions,
    *,
    note: Note = lambda _: None,
    look: Look = lambda *_: None,
    traffic: Traffic | None = None,
    interrupts: Interrupts | None = None,
) -> Result:
    """Put a scenario's requests to the server at `options.url` at their times, in real time, and
    write the result files to the directory `out`.

    Latencies are the client's, from when a request is first sent. What only the server knows is 0
    in the result, or left out: adapters, memory, batches, and how the time to the first token is
    made up (all of it is `prefill_s`, after the retries in `queue_s`). Hits of its prefix cache are
    those that it tells of with its answers. Beside the files of a run there is `runs.csv`, which
    `calibrate --from` reads. The first Ctrl-C lets no more requests be sent, the second cuts off
    those under way. `note` is told in a sentence what is to be known of the result. `traffic`
    replaces the scenario's. `interrupts`: of a caller who is to finish undisturbed, too.

    Raises UserError for a server that is not there, does not know the key, or has not the models.
    """
    started_s = time.perf_counter()
    directory = Path(out)
    deployment = expand(scenario)
    traffic = traffic or open_traffic(deployment)
    names = Names(deployment, options)
    asked = adapters_of(deployment, traffic) - set(deployment.candidates.values())
    recorder = Recorder(deployment, directory, warmup_s=scenario.run.warmup_s)

    drivers: list[OpenAIDriver] = []  # one, as soon as there is a loop for it

    def gauges_due(time_s: float) -> float:
        (driver,) = drivers
        running, waiting = driver.counts
        recorder.sample(time_s, 0, running, waiting, 0, 0, 0, 0, 0)
        if len(recorder.pending) >= recorder.FLUSH_REQUESTS:
            recorder.flush()
        look(driver, time_s)
        return time_s + recorder.sample_interval_s

    async def run() -> tuple[OpenAIDriver, list[Request]]:
        trusted = httpx.create_ssl_context(trust_env=False)  # slow to make, so made once
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(_client(options, trusted)) for _ in range(_POOLS)
            ]
            await prepare(clients[0], options, names, asked)
            prompts = Prompts(
                deployment.model.vocab_size,
                scenario.seed,
                traffic.prefix_block_tokens,
                as_text=options.as_text,
            )
            driver = OpenAIDriver(
                deployment,
                options,
                clients,
                Bodies(options, names, prompts),
                recorder.add_replica(),
                recorder.pending,
                gauges_due,
            )
            drivers.append(driver)
            end_s = traffic.duration_s if scenario.workload.on_end == "discard" else None
            with ending.serving(driver.ask):
                left = await driver.run(requests_of(deployment, traffic), end_s)
            return driver, left

    with Interrupts.within(interrupts) as ending:
        driver, left = asyncio.run(run())
        span_s = driver.now()
        recorder.pending.extend(left)
        header = f"simlora {__version__}, live on {options.shown_url}\ntiming {MEASURED}"
        resolved = directory / files.RESOLVED_SCENARIO
        resolved.write_text(dump_resolved(scenario, header), encoding="utf-8", newline="\n")
        _tell(driver, note)
        wall_s = time.perf_counter() - started_s
        result = recorder.close(_facts(deployment, options, driver, wall_s, span_s))
        write_run_table(result)
        return result


def _client(options: ServerOptions, trusted: SSLContext) -> httpx.AsyncClient:
    url = options.url.rstrip("/").removesuffix("/v1") + "/v1/"
    headers = {"authorization": f"Bearer {options.api_key}"} if options.api_key else {}
    try:
        return httpx.AsyncClient(
            base_url=url,
            headers=headers,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=_CONNECT_S),
            verify=trusted,
            trust_env=False,  # a proxy on the way would be measured with the server
        )
    except httpx.InvalidURL as error:
        raise UserError(f"--url {options.shown_url}: is no address of a server: {error}") from None


def _tell(driver: OpenAIDriver, note: Note) -> None:
    """What is to be known of the measurements."""
    if driver.late_s:
        late_s = float(np.quantile(driver.late_s, 0.99))
        if late_s > _LATE_S:
            note(
                f"1 % of the requests were sent {1000 * late_s:.0f} ms late or more: this client "
                "was too slow for its load"
            )
    if driver.told_otherwise:
        note(
            f"{driver.told_otherwise} answers did not come in one chunk a token; inter-token "
            "latencies are those of chunks"
        )
    if driver.at_once:
        note(
            f"{driver.at_once} answers of several tokens came in one chunk, so that their time per "
            "output token is 0: something on the way to the server gathers its stream"
        )


def _facts(
    deployment: Deployment,
    options: ServerOptions,
    driver: OpenAIDriver,
    wall_s: float,
    span_s: float,
) -> RunFacts:
    """What a client knows. The fleet is the scenario's, all of it rented all the time."""
    fleet = tuple(
        PoolFacts(
            pool.gpu,
            pool.replicas,
            pool.tensor_parallel,
            gpu.usd_per_hour,
            span_s * pool.replicas,
        )
        for pool, gpu in zip(deployment.scenario.fleet, deployment.gpus, strict=True)
    )
    return RunFacts(
        wall_s=wall_s,
        events=driver.arrived + driver.tokens,
        span_s=span_s,
        fleet=fleet,
        timing=TimingFacts(options.shown_url, MEASURED),
        memory=(_UNKNOWN,) * sum(pool.replicas for pool in fleet),
        prefix=PrefixFacts(driver.looked_up_tokens, driver.cached_tokens),
        interrupted=driver.interrupted,
        versions=Versions(deployment).facts(span_s),
    )
