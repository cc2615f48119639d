"""Synthetic traffic: independent requests, and bursts of one tenant on top."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.scenario.traffic import BurstArrivals, BurstShape
from simlora.workload.arrivals import arrival_process
from simlora.workload.blocks import BLOCK_ROWS, End, Floats, RequestBlock, Tokens
from simlora.workload.group_lengths import GroupLengths
from simlora.workload.popularity import Targets, targets_of
from simlora.workload.randomness import Purpose, stream

MOST_BURST_REQUESTS = 20_000_000  # 16 bytes each


@dataclass(slots=True)
class Calls:
    """Who asks when, in order of arrival: a block without lengths."""

    arrival_s: Floats
    tenant: Tokens
    adapter: Tokens

    def __len__(self) -> int:
        return len(self.arrival_s)

    def __getitem__(self, rows: slice) -> Calls:
        return Calls(self.arrival_s[rows], self.tenant[rows], self.adapter[rows])


def independent_requests(deployment: Deployment) -> Callable[[], Iterator[RequestBlock]]:
    """Return the opener of a stream of single requests, without sessions or shared prefixes.

    Raises:
        UserError: a workload that cannot be drawn (see `arrival_process`, `GroupLengths`).
    """
    workload = deployment.scenario.workload
    targets = targets_of(deployment)
    if isinstance(workload.arrivals, BurstArrivals):
        process = arrival_process("poisson")
        bursts = workload.arrivals.bursts
        total = sum(burst.requests for burst in bursts)
        if total > MOST_BURST_REQUESTS:
            raise UserError(
                f"workload.arrivals.bursts: {total:,} requests in bursts, which are drawn at once; "
                f"allowed is {MOST_BURST_REQUESTS:,}"
            )
    else:
        process = arrival_process(workload.arrivals)
        bursts = []
    lengths = GroupLengths(deployment)
    open_stream = partial(stream, deployment.scenario.seed)

    def blocks() -> Iterator[RequestBlock]:
        calls = _base_calls(process.times(targets.rate_rps, open_stream), targets, open_stream)
        if bursts:
            extra = _burst_calls(bursts, deployment, targets)
            calls = _merged(calls, extra)
        draw_lengths = lengths.open()
        end = End(workload)
        for whole in calls:
            chunk = whole[: end.rows(whole.arrival_s)]
            for first in range(0, len(chunk), BLOCK_ROWS):
                part = chunk[first : first + BLOCK_ROWS]
                count = len(part)
                prompt_tokens, output_tokens = draw_lengths(part.tenant)
                yield RequestBlock(
                    arrival_s=part.arrival_s,
                    tenant=part.tenant,
                    adapter=part.adapter,
                    prompt_tokens=prompt_tokens,
                    output_tokens=output_tokens,
                    session=np.full(count, -1, dtype=np.int64),
                    priority=np.zeros(count, dtype=np.int16),
                )
            if end.reached:
                return

    return blocks


def _base_calls(
    times: Iterator[Floats],
    targets: Targets,
    open_stream: Callable[[Purpose], np.random.Generator],
) -> Iterator[Calls]:
    random = open_stream(Purpose.TARGETS)
    last = 0.0
    for given in times:
        try:
            chunk = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            raise UserError("workload.arrivals: the process must yield arrays of seconds") from None
        if len(chunk) == 0:
            continue
        if not (chunk[0] >= last and bool(np.all(np.diff(chunk) >= 0))):
            raise UserError("workload.arrivals: the process returned times that are not ascending")
        last = float(chunk[-1])
        yield Calls(chunk, *targets.draw(random, len(chunk)))


def _burst_calls(bursts: list[BurstShape], deployment: Deployment, targets: Targets) -> Calls:
    times, tenants, adapters = [], [], []
    for number, burst in enumerate(bursts):
        random = stream(deployment.scenario.seed, Purpose.BURSTS, number)
        for tenant in _bursting(burst.tenant, deployment):
            own = targets.of_tenant(tenant)
            times.append(burst.start_s + burst.duration_s * random.random(burst.requests))
            tenants.append(np.full(burst.requests, tenant, dtype=np.int32))
            adapters.append(own[random.integers(len(own), size=burst.requests)])
    arrival_s = np.concatenate(times)
    order = np.argsort(arrival_s, kind="stable")
    return Calls(arrival_s[order], np.concatenate(tenants)[order], np.concatenate(adapters)[order])


def _bursting(name: str, deployment: Deployment) -> list[int]:
    """The tenant of that name, or all tenants of the group of that name."""
    groups = [group.name for group in deployment.scenario.tenants]
    if name not in groups:
        return [deployment.tenant_index[name]]
    group = groups.index(name)
    return [tenant.index for tenant in deployment.tenants if tenant.group == group]


def _merged(base: Iterator[Calls], extra: Calls) -> Iterator[Calls]:
    """Merge the finite, sorted `extra` into the endless `base`."""
    done = 0
    for chunk in base:
        until = int(np.searchsorted(extra.arrival_s, chunk.arrival_s[-1]))
        if until == done:
            yield chunk
            continue
        pair = (chunk, extra[done:until])
        done = until
        arrival_s = np.concatenate([calls.arrival_s for calls in pair])
        order = np.argsort(arrival_s, kind="stable")
        yield Calls(
            arrival_s[order],
            np.concatenate([calls.tenant for calls in pair])[order],
            np.concatenate([calls.adapter for calls in pair])[order],
        )
