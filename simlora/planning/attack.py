"""An attacker who guesses other tenants' prompts, and tells by the time to first token whether the
guess was right: the prefix cache as a side channel (arXiv 2409.20002)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.scenario.traffic import SessionArrivals
from simlora.serving.memory import plan_memory
from simlora.serving.namespaces import common_prefix
from simlora.workload.blocks import BLOCK_ROWS, Floats, Ints, RequestBlock, Traffic
from simlora.workload.randomness import Purpose, stream

LEAST_PROBES = 100
SETTLE_S = 5.0  # so long after it was sent a prompt is taken to have been computed
RECENT_PROMPTS = 64  # the attacker guesses one of so many latest
LEAST_GUESS_TOKENS = 256  # of a prompt that the attacker has not sent before
_TRIES = 16
# Beyond 64 bits: no trace has such a hash.
_FRESH = 2**64


@dataclass(frozen=True, slots=True)
class Probes:
    """The attacker's requests in order of arrival: prompts of whole blocks and one answer token.

    A probe begins with `known_tokens` that the attacker has sent before or that every prompt has;
    then comes the guess, which is `right` if a victim's prompt went on like that; the last block is
    fresh, so that no two probes are alike.
    """

    arrival_s: Floats
    right: NDArray[np.bool_]
    prompt_tokens: Ints
    known_tokens: Ints
    prefix_hashes: list[list[int]]

    def __len__(self) -> int:
        return len(self.arrival_s)


def draw_probes(deployment: Deployment, traffic: Traffic, attacker: int, count: int) -> Probes:
    """Draw up to `count` probes against `traffic`, which holds no request of the attacker.

    Their times are those of a Poisson process, from the first request of a victim on until the
    last. A victim is any tenant but the attacker whose `prompt_class` is private. Each probe takes
    one of the victims' latest prompts, cut to whole blocks; then a fair coin says whether it is
    sent as it was (guess right), or with all that the attacker has not sent before replaced by
    random content of the same length (guess wrong). What the attacker sends comes into the cache of
    its own, so a guess that was right once is known from then on, and begins right and wrong
    guesses alike: else the attacker's own hits would be taken for a leak. A time at which nothing
    is left to guess goes without a probe.

    Raises:
        UserError: the traffic has no prefix hashes, or too few prompts worth a guess.
    """
    victims = _Victims(deployment, traffic, attacker)
    first_s, last_s = victims.span_s()
    rng = stream(deployment.scenario.seed, Purpose.PROBES)
    times_s = np.sort(rng.uniform(first_s + SETTLE_S, max(last_s, first_s + SETTLE_S), count))
    coins = rng.random(count) < 0.5
    block_tokens = traffic.prefix_block_tokens
    most_blocks = (_longest_prompt(deployment) - 1) // block_tokens - 1
    guesses = _Guesses(_public_prefix(deployment, block_tokens), block_tokens, most_blocks)
    rows: list[tuple[float, bool, int, list[int]]] = []
    sent = victims.prompts()
    upcoming = next(sent, None)
    for arrival_s, right in zip(times_s.tolist(), coins.tolist(), strict=True):
        while upcoming is not None and upcoming[0] <= arrival_s - SETTLE_S:
            guesses.recent.append(upcoming[1])
            upcoming = next(sent, None)
        drawn = guesses.draw(rng, right)
        if drawn is not None:
            rows.append((arrival_s, right, *drawn))
    if len(rows) < LEAST_PROBES:
        raise UserError(
            f"workload: the other tenants' prompts are worth only {len(rows)} guesses, too few to "
            f"measure anything (at least {LEAST_PROBES}, each of {LEAST_GUESS_TOKENS} tokens that "
            "are private and not guessed before)"
        )
    hashes = [row[3] for row in rows]
    return Probes(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([block_tokens * len(ids) for ids in hashes], dtype=np.int64),
        np.array([block_tokens * row[2] for row in rows], dtype=np.int64),
        hashes,
    )


def with_probes(deployment: Deployment, traffic: Traffic, attacker: int, probes: Probes) -> Traffic:
    """The traffic with the probes among it, sent for the attacker's first adapter."""
    count = len(probes)
    adapters = deployment.tenants[attacker].adapters
    all_probes = RequestBlock(
        probes.arrival_s,
        np.full(count, attacker, dtype=np.int32),
        np.full(count, adapters[0] if adapters else -1, dtype=np.int32),
        probes.prompt_tokens.astype(np.int32),
        np.ones(count, dtype=np.int32),
        np.full(count, -1, dtype=np.int64),
        np.zeros(count, dtype=np.int16),
        probes.prefix_hashes,
    )

    def blocks() -> Iterator[RequestBlock]:
        done = 0
        for block in traffic.blocks():
            due = int(np.searchsorted(probes.arrival_s, block.arrival_s[-1]))
            yield from _merged(block, all_probes.take(np.arange(done, due)))
            done = due
        if done < count:
            yield all_probes.take(np.arange(done, count))

    return Traffic(blocks, None, traffic.duration_s, traffic.prefix_block_tokens)


def _merged(one: RequestBlock, other: RequestBlock) -> Iterator[RequestBlock]:
    """The requests of both in order of arrival; at equal times those of the first come first."""
    if not len(other):
        yield one
        return
    both = RequestBlock(
        np.concatenate([one.arrival_s, other.arrival_s]),
        np.concatenate([one.tenant, other.tenant]),
        np.concatenate([one.adapter, other.adapter]),
        np.concatenate([one.prompt_tokens, other.prompt_tokens]),
        np.concatenate([one.output_tokens, other.output_tokens]),
        np.concatenate([one.session, other.session]),
        np.concatenate([one.priority, other.priority]),
        [*(one.prefix_hashes or [[]] * len(one)), *(other.prefix_hashes or [])],
    )
    order = np.argsort(both.arrival_s, kind="stable")
    for first in range(0, len(order), BLOCK_ROWS):
        yield both.take(order[first : first + BLOCK_ROWS])


class _Victims:
    """Those whose prompts are guessed."""

    def __init__(self, deployment: Deployment, traffic: Traffic, attacker: int) -> None:
        groups = deployment.scenario.tenants
        self._traffic = traffic
        self._private = np.array(
            [
                tenant.index != attacker and groups[tenant.group].prompt_class == "private"
                for tenant in deployment.tenants
            ]
        )
        if not self._private.any():
            raise UserError("tenants: nobody but the attacker has private prompts to guess")

    def prompts(self) -> Iterator[tuple[float, list[int]]]:
        """When each prompt was sent, and the hashes of its whole blocks."""
        block_tokens = self._traffic.prefix_block_tokens
        for block in self._traffic.blocks():
            if block.prefix_hashes is None:
                continue
            for row in np.flatnonzero(self._private[block.tenant]).tolist():
                whole = int(block.prompt_tokens[row]) // block_tokens
                hashes = block.prefix_hashes[row][:whole]
                if hashes:
                    yield float(block.arrival_s[row]), hashes

    def span_s(self) -> tuple[float, float]:
        """When the first and the last prompt was sent."""
        first_s, last_s = math.inf, -math.inf
        for arrival_s, _ in self.prompts():
            first_s, last_s = min(first_s, arrival_s), arrival_s
        if first_s > last_s:
            raise UserError(
                "workload: no private prompt has prefix hashes, so there is nothing to guess; "
                "arrivals: sessions make them, or a trace with the column prefix_hashes has them"
            )
        return first_s, last_s


class _Guesses:
    """What the attacker knows, and what it makes of the prompts that it may guess next."""

    def __init__(self, known: list[int], block_tokens: int, most_blocks: int) -> None:
        self.recent: deque[list[int]] = deque(maxlen=RECENT_PROMPTS)
        self._known = set(known)
        self._least = -(-LEAST_GUESS_TOKENS // block_tokens)
        self._most = most_blocks
        self._fresh = _FRESH

    def draw(self, rng: np.random.Generator, right: bool) -> tuple[int, list[int]] | None:
        """One probe: its known blocks, and the hashes of all. None: nothing worth a guess."""
        for _ in range(min(_TRIES, len(self.recent))):
            blocks = self.recent[int(rng.integers(len(self.recent)))][: self._most]
            known = next((n for n, ids in enumerate(blocks) if ids not in self._known), len(blocks))
            if len(blocks) - known < self._least:
                continue
            guess = blocks[known:] if right else self._new(len(blocks) - known)
            if right:
                self._known.update(guess)
            return known, [*blocks[:known], *guess, *self._new(1)]
        return None

    def _new(self, count: int) -> list[int]:
        first = self._fresh
        self._fresh += count
        return list(range(first, self._fresh))


def _public_prefix(deployment: Deployment, block_tokens: int) -> list[int]:
    """The hashes with which all prompts begin, known to every tenant."""
    arrivals = deployment.scenario.workload.arrivals
    if not isinstance(arrivals, SessionArrivals):
        return []
    return common_prefix(arrivals.sessions.common_prefix_tokens // block_tokens)


def _longest_prompt(deployment: Deployment) -> int:
    """Tokens that the prompt of a request with one answer token may have on every pool."""
    pools = range(len(deployment.scenario.fleet))
    return min(plan_memory(deployment, pool).max_model_len for pool in pools) - 1
