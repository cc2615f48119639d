"""From a scenario to the result of a live run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from simlora import __version__
from simlora.live.adapter_files import AdapterFiles
from simlora.live.adapter_store import open_store
from simlora.live.arrivals import adapters_of
from simlora.live.driver import Driver
from simlora.live.facts import MEASURED, gather_facts
from simlora.live.limits import served_here
from simlora.live.mirror import Mirror
from simlora.live.opening import open_engine
from simlora.live.records import Rows
from simlora.live.registered import look_up
from simlora.live.server import Server
from simlora.live.signals import Interrupts
from simlora.live.tokens import TokenSource
from simlora.registry.store import Registry
from simlora.results import files
from simlora.results.decision_file import writing_decisions
from simlora.results.files import DECISIONS
from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.scenario.deployment import expand
from simlora.scenario.loading import dump_resolved
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.workload.blocks import Traffic
from simlora.workload.prefix_blocks import check_prefix_blocks
from simlora.workload.requests import requests_of
from simlora.workload.traffic import open_traffic

Look = Callable[[Driver, Server, float], None]  # at a run, at a time of its clock


def run_live(
    scenario: Scenario,
    out: str | Path,
    *,
    device: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    look: Look = lambda *_: None,
    answers: dict[int, list[int]] | None = None,
    traffic: Traffic | None = None,
    check: bool = False,
    registry: Path | None = None,
    trusted: Path | None = None,
    interrupts: Interrupts | None = None,
) -> Result:
    """Serve a scenario's requests in real time on simlora's own engine, and write the result files
    to the directory `out`. Adapters are those of the folder `registry`, checked against the keys in
    `trusted` (default: its own), or random ones.

    The first Ctrl-C lets no more requests come and those that have come be served, the second ends
    the run at once; the result says so. `device` is "cuda" or "cpu" (default: the GPU if there is
    one). `note` is told in a sentence what of the scenario is left out. `look` is called a few
    times a second. `answers` is filled with what the engine said, by request. `traffic` replaces
    the scenario's. `check`: device and scheduler are compared at every step boundary. `interrupts`:
    of a caller who is to finish undisturbed, too.

    Raises UserError for what is wrong with the scenario, without torch, and where the device's
    memory does not suffice.
    """
    started_s = time.perf_counter()
    directory = Path(out)
    scenario, notes = served_here(scenario)
    for sentence in notes:
        note(sentence)
    if registry is not None and scenario.adapters.loading.corrupt:
        note("no file of the registry is damaged (adapters.loading.corrupt)")
        scenario = scenario.with_overrides({"adapters.loading.corrupt": []})
    deployment = expand(scenario)
    traffic = traffic or open_traffic(deployment)
    check_prefix_blocks(scenario, traffic)
    asked = adapters_of(deployment, traffic)
    if registry is not None:  # before the model is loaded, which may take a while
        look_up(deployment, Registry.open(registry, trusted=trusted), asked)
    with Interrupts.within(interrupts) as ending:
        recorder = Recorder(deployment, directory, warmup_s=scenario.run.warmup_s)
        server = Server(
            deployment, traffic.prefix_block_tokens, recorder.add_replica(), recorder.pending
        )
        engine = open_engine(deployment, server.plan, device)
        tokens = TokenSource(engine.shape.vocab_size, scenario.seed, traffic.prefix_block_tokens)
        mirror = Mirror(engine.pool, server.scheduler.memory, tokens, server.plan.block_tokens)
        server.watch(mirror)

        def end(request: Request) -> None:
            script = mirror.scripts.pop(request.index, None)
            if answers is not None and script is not None:
                answers[request.index] = script.said

        server.on_end = end
        with TemporaryDirectory(prefix="simlora-", ignore_cleanup_errors=True) as folder:
            store = open_store(deployment, engine, Path(folder), registry=registry, trusted=trusted)
            adapter_files = AdapterFiles(deployment, engine, Path(folder), store)
            begun_with = adapter_files.make(asked, server)
            engine.warm_up(deployment.adapters[min(asked)] if asked else None)
            rows = Rows(directory / files.STEPS)
            for row in begun_with:
                rows.add(row)
            end_s = traffic.duration_s if scenario.workload.on_end == "discard" else None
            driver = Driver(
                server,
                mirror,
                engine,
                adapter_files,
                requests_of(deployment, traffic),
                rows.add,
                end_s=end_s,
                check=check,
            )
            with writing_decisions(directory / DECISIONS) as log:

                def gauges_due(time_s: float) -> float:
                    _sample(recorder, server, time_s)
                    log(server.decisions.drain())
                    if len(recorder.pending) >= recorder.FLUSH_REQUESTS:
                        recorder.flush()
                    look(driver, server, time_s)
                    return time_s + recorder.sample_interval_s

                driver.gauges_due = gauges_due
                recorder.pending.extend(asyncio.run(_serve(driver, ending)))
                log(server.decisions.drain())
            rows.close()
        header = f"simlora {__version__}, live on {engine.name}\ntiming {MEASURED}"
        resolved = directory / files.RESOLVED_SCENARIO
        resolved.write_text(dump_resolved(scenario, header), encoding="utf-8", newline="\n")
        wall_s = time.perf_counter() - started_s
        return recorder.close(
            gather_facts(deployment, server, driver, engine.name, wall_s, driver.now())
        )


async def _serve(driver: Driver, interrupts: Interrupts) -> list[Request]:
    with interrupts.serving(driver.ask):
        return await driver.run()


def _sample(recorder: Recorder, server: Server, time_s: float) -> None:
    scheduler = server.scheduler
    kv_pages, prefix_pages, adapter_pages = scheduler.memory.pool.held
    recorder.sample(
        time_s,
        0,
        len(scheduler.running),
        scheduler.waiting,
        kv_pages,
        prefix_pages,
        adapter_pages,
        scheduler.memory.pool.free,
        scheduler.tiers.hot.count,
    )
