"""Multi-turn conversations: prompts that grow by what was said before.

The stream starts in its stationary state: sessions that began before time 0 are drawn too, and
their turns from time 0 on are kept, so that the rate is `rate_rps` from the first second. Arrivals
do not wait for answers: `think_time_s` is the mean time from one turn's arrival to the next one's.

A turn that would not fit in `max_context_tokens` starts the conversation over: the history is
dropped and only the shared prefixes (the platform's and the tenant's) and the new message are
sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.scenario.traffic import SessionShape
from simlora.serving.namespaces import common_prefix
from simlora.workload.blocks import BLOCK_ROWS, End, Floats, Ints, RequestBlock, Tokens
from simlora.workload.group_lengths import GroupLengths
from simlora.workload.popularity import Targets, targets_of
from simlora.workload.randomness import Purpose, stream

# Sessions older than this many mean lengths at time 0 are left out: 0.03 % of the turns.
_HISTORY_LENGTHS = 8.0
_LEAST_SESSIONS = 256  # drawn at a time
MOST_TURNS_GOING_ON = 2_000_000  # of all conversations at one instant, 56 bytes each


@dataclass(slots=True)
class Turns:
    """Turns in columns. `conversation` counts the histories (a restart begins a new one)."""

    arrival_s: Floats
    tenant: Tokens
    adapter: Tokens
    prompt_tokens: Ints
    output_tokens: Ints
    session: Ints
    conversation: Ints

    def __len__(self) -> int:
        return len(self.arrival_s)

    def take(self, rows: Any) -> Turns:
        return Turns(*(getattr(self, column.name)[rows] for column in fields(self)))

    def joined(self, other: Turns) -> Turns:
        names = [column.name for column in fields(self)]
        return Turns(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))


def session_requests(
    deployment: Deployment, shape: SessionShape, prefix_block_tokens: int
) -> Callable[[], Iterator[RequestBlock]]:
    """Return the opener of a stream of turns with prefix hashes.

    Raises:
        UserError: a shared prefix that leaves no room for a message and an answer, or too many
            turns that are still to come in conversations that go on.
    """
    if _prefix_tokens(shape) + 2 > shape.max_context_tokens:
        common = shape.common_prefix_tokens
        raise UserError(
            "workload.arrivals.sessions: "
            + (f"common_prefix_tokens is {common} and " if common else "")
            + f"shared_prefix_tokens is {shape.shared_prefix_tokens}, which leaves no room for a "
            f"message and an answer in max_context_tokens ({shape.max_context_tokens})"
        )
    workload = deployment.scenario.workload
    targets = targets_of(deployment)
    going_on = targets.rate_rps * shape.think_time_s * (shape.turns_mean - 1)
    if going_on > MOST_TURNS_GOING_ON:
        raise UserError(
            f"workload.arrivals.sessions: at {targets.rate_rps:g} turns a second, with turns_mean "
            f"{shape.turns_mean:g} and think_time_s {shape.think_time_s:g}, {going_on:,.0f} turns "
            f"are still to come at any time; allowed is {MOST_TURNS_GOING_ON:,}"
        )
    factory = _SessionFactory(
        shape,
        targets,
        GroupLengths(deployment, paired=False),
        deployment.scenario.seed,
    )

    def blocks() -> Iterator[RequestBlock]:
        end = End(workload)
        for turns in _in_order(factory.chunks(), workload.duration_s):
            count = end.rows(turns.arrival_s)
            for first in range(0, count, BLOCK_ROWS):
                rows = turns.take(slice(first, min(first + BLOCK_ROWS, count)))
                yield _block(rows, shape, prefix_block_tokens)
            if end.reached:
                return

    return blocks


def _prefix_tokens(shape: SessionShape) -> int:
    """What every prompt of a tenant begins with."""
    return shape.common_prefix_tokens + shape.shared_prefix_tokens


@dataclass(frozen=True, slots=True)
class _SessionFactory:
    """Draws sessions in order of their start."""

    shape: SessionShape
    targets: Targets
    lengths: GroupLengths
    seed: int

    def chunks(self) -> Iterator[tuple[float, Turns]]:
        """Yield (start of the last session so far, turns of a batch of sessions), without end."""
        shape = self.shape
        draw = partial(stream, self.seed)
        starts, turn_counts = draw(Purpose.ARRIVALS), draw(Purpose.TURNS)
        thinking, targets = draw(Purpose.THINK_TIMES), draw(Purpose.TARGETS)
        draw_lengths = self.lengths.open()
        rate = self.targets.rate_rps / shape.turns_mean
        clock = -_HISTORY_LENGTHS * (shape.turns_mean - 1) * shape.think_time_s
        batch = max(_LEAST_SESSIONS, int(BLOCK_ROWS / shape.turns_mean))
        sessions = conversations = 0
        while True:
            start_s = clock + np.cumsum(starts.standard_exponential(batch)) / rate
            clock = float(start_s[-1])
            counts = turn_counts.geometric(1 / shape.turns_mean, batch)
            tenant, adapter = self.targets.draw(targets, batch)
            total = int(counts.sum())
            first = np.cumsum(counts) - counts
            gaps = thinking.standard_exponential(total) * shape.think_time_s
            gaps[first] = 0.0
            elapsed = np.cumsum(gaps)
            arrival_s = np.repeat(start_s - elapsed[first], counts) + elapsed
            spoken, answered, restarts = self._histories(
                counts, first, *draw_lengths(np.repeat(tenant, counts))
            )
            restarts[first] = True
            conversation = np.cumsum(restarts) - 1 + conversations
            session = np.repeat(np.arange(sessions, sessions + batch), counts)
            sessions += batch
            conversations = int(conversation[-1]) + 1
            turns = Turns(
                arrival_s,
                np.repeat(tenant, counts),
                np.repeat(adapter, counts),
                spoken,
                answered,
                session,
                conversation,
            )
            yield clock, turns.take(arrival_s >= 0)

    def _histories(
        self, counts: Ints, first: Ints, message: Tokens, answer: Tokens
    ) -> tuple[Ints, Ints, np.ndarray]:
        """Return prompt and answer tokens of each turn, and whether its conversation starts over.

        Loops over turn numbers, not over sessions: the n-th turns of all sessions at once.
        """
        limit, shared = self.shape.max_context_tokens, _prefix_tokens(self.shape)
        answered = np.minimum(answer.astype(np.int64), limit - shared - 1)
        spoken = np.minimum(message.astype(np.int64), limit - shared - answered)
        restarts = np.zeros(len(spoken), dtype=bool)
        history = np.full(len(counts), shared, dtype=np.int64)
        for turn in range(int(counts.max())):
            going = np.flatnonzero(counts > turn)
            rows = first[going] + turn
            before = history[going]
            over = before + spoken[rows] + answered[rows] > limit
            before[over] = shared
            restarts[rows] = over
            spoken[rows] += before
            history[going] = spoken[rows] + answered[rows]
        return spoken, answered, restarts


def _in_order(chunks: Iterator[tuple[float, Turns]], duration_s: float | None) -> Iterator[Turns]:
    """Yield turns in order of arrival; those of sessions still going on wait their turn, unless
    they are not to come before `duration_s`."""
    end_s = math.inf if duration_s is None else duration_s
    waiting: Turns | None = None
    for horizon_s, drawn in chunks:
        turns = drawn.take(drawn.arrival_s < end_s)
        waiting = turns if waiting is None else waiting.joined(turns)
        waiting = waiting.take(np.argsort(waiting.arrival_s, kind="stable"))
        # A turn's time is its session's start plus a difference of sums: right to 1e-9 s or so.
        ready = int(np.searchsorted(waiting.arrival_s, horizon_s - 1e-6))
        if ready:
            yield waiting.take(slice(0, ready))
            waiting = waiting.take(slice(ready, None))
        if horizon_s - 1e-6 >= end_s:
            return


def _block(turns: Turns, shape: SessionShape, block_tokens: int) -> RequestBlock:
    """Give turns their prefix hashes: the platform's for whole blocks of the common prefix, the
    tenant's up to the end of the shared one (negative numbers both), then the conversation's own,
    through the end of the answer."""
    common = common_prefix(shape.common_prefix_tokens // block_tokens)
    shared = _prefix_tokens(shape) // block_tokens
    of_tenant = shared - len(common)
    most = shape.max_context_tokens // block_tokens
    blocks = (turns.prompt_tokens + turns.output_tokens) // block_tokens
    own = turns.conversation * (most + 1)
    prefixes = {
        tenant: common
        + [-1 - len(common) - tenant * of_tenant - position for position in range(of_tenant)]
        for tenant in np.unique(turns.tenant).tolist()
    }
    return RequestBlock(
        arrival_s=turns.arrival_s,
        tenant=turns.tenant,
        adapter=turns.adapter,
        prompt_tokens=turns.prompt_tokens.astype(np.int32),
        output_tokens=turns.output_tokens.astype(np.int32),
        session=turns.session,
        priority=np.zeros(len(turns), dtype=np.int16),
        prefix_hashes=[
            prefixes[tenant] + list(range(start + shared, start + count))
            for tenant, start, count in zip(
                turns.tenant.tolist(), own.tolist(), blocks.tolist(), strict=True
            )
        ],
    )
