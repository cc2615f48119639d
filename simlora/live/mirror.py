"""From the scheduler's counts of pages to real blocks and slots on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simlora.live.tokens import Script, Scripts, Tokens
from simlora.serving.adapter_state import AdapterState
from simlora.serving.page_pool import ADAPTER, KV, PREFIX
from simlora.serving.prefix_cache import PrefixNode
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import Request
from simlora.serving.step import StepPlan

if TYPE_CHECKING:
    from simlora.live.embedded import Sampling

Ids = NDArray[np.int32]
Part = tuple[Tokens, int, Ids, int]  # tokens to compute, the first one's position, blocks, slot


class Blocks(Protocol):
    """What the mirror asks of the device's pool (`kernels.pool.DevicePool`)."""

    accounts: Any

    def take_blocks(self, count: int, owner: int) -> Ids:
        """Take blocks."""

    def release_blocks(self, blocks: ArrayLike, owner: int) -> None:
        """Give them back."""

    def transfer_blocks(self, blocks: ArrayLike, source: int, target: int) -> None:
        """They change their owner."""

    def unload(self, slot: int) -> None:
        """Drop an adapter."""

    def check(self) -> None:
        """Raises AssertionError unless every page is accounted for once."""


@dataclass(slots=True)
class Sequence:
    """A request in the batch: its tokens, its blocks in their order, and how many tokens have K and
    V in them."""

    request: Request
    script: Script
    blocks: list[int]
    computed: int


class Mirror:
    """Owns what the scheduler's pages stand for, as a MemoryWatcher.

    Blocks that hold a cached prefix belong to its nodes, and stand in the block table of every
    request that shares it. Pages are given back as the scheduler does it, and taken when it is
    done with a step's decisions: then there is room for all of them. During a step the decoding
    sequences already have the blocks that the scheduler books when the step is complete; after
    `complete` both agree to the page, which `check` tells.
    """

    def __init__(
        self, pool: Blocks, memory: ReplicaMemory, tokens: Scripts, block_tokens: int
    ) -> None:
        self.sequences: dict[int, Sequence] = {}
        self.slots: dict[int, int] = {}  # by adapter, of those in GPU memory
        self.scripts: dict[int, Script] = {}  # of all requests under way
        self._pool = pool
        self._memory = memory
        self._tokens = tokens
        self._block_tokens = block_tokens
        self._nodes: dict[tuple[int, int], list[int]] = {}  # blocks by the node's key
        self.leaving: list[tuple[int, int]] = []  # adapters and slots, until the next boundary

    # --- as the scheduler decides -------------------------------------------------------

    def admitted(self, request: Request, cached_tokens: int) -> None:
        blocks: list[int] = []
        for node in request.prefix_nodes or ():
            blocks += self._nodes[node.key]
        script = self.scripts.get(request.index)
        if script is None:
            script = self.scripts[request.index] = self._tokens.script(request)
        self.sequences[request.index] = Sequence(request, script, blocks, cached_tokens)

    def left(self, request: Request, kv_tokens: int) -> None:
        sequence = self.sequences.pop(request.index)
        assert sequence.computed == kv_tokens, (sequence.computed, kv_tokens)
        shared = len(request.prefix_nodes or ()) * self._memory.node_blocks
        self._pool.release_blocks(sequence.blocks[shared:], KV)

    def cached(self, request: Request, blocks: int) -> None:
        nodes = request.prefix_nodes
        assert nodes is not None
        each = self._memory.node_blocks
        owned = self.sequences[request.index].blocks
        for number in range(len(nodes) - blocks, len(nodes)):
            held = owned[number * each : (number + 1) * each]
            self._pool.transfer_blocks(held, KV, PREFIX)
            self._nodes[nodes[number].key] = held

    def forgotten(self, node: PrefixNode) -> None:
        self._pool.release_blocks(self._nodes.pop(node.key), PREFIX)

    def load_started(self, state: AdapterState) -> None:
        """Its pages are taken with the first of its bytes."""

    def evicted(self, state: AdapterState) -> None:
        slot = self.slots.pop(state.index, None)
        if slot is not None:  # else it was to be loaded in the coming step, and will not be
            self.leaving.append((state.index, slot))

    # --- at step boundaries -------------------------------------------------------------

    def settle(self) -> None:
        """A step boundary: give up what was evicted, also during the step."""
        for _, slot in self.leaving:
            self._pool.unload(slot)
        self.leaving.clear()

    def passed_by(self, plan: StepPlan, adapter: AdapterState) -> None:
        """A planned step, which has not begun, goes without an adapter: its requests will leave
        with the tokens that they were to have by then, and no blocks."""
        for request, tokens in plan.chunks:
            if request.adapter_state is adapter:
                self.sequences[request.index].computed += tokens

    def begin_step(self, plan: StepPlan, decoding: list[Request]) -> Step:
        """Take the blocks of the coming step."""
        decodes = [self.sequences[request.index] for request in decoding]
        chunks = [(self.sequences[request.index], tokens) for request, tokens in plan.chunks]
        wanted = [(sequence, sequence.computed + 1) for sequence in decodes]
        wanted += [(sequence, sequence.computed + tokens) for sequence, tokens in chunks]
        missing = [
            -(-tokens // self._block_tokens) - len(sequence.blocks) for sequence, tokens in wanted
        ]
        if total := sum(missing):
            blocks = self._pool.take_blocks(total, KV).tolist()
            for (sequence, _), count in zip(wanted, missing, strict=True):
                if count:
                    sequence.blocks += blocks[-count:]
                    del blocks[-count:]
        return Step(decodes, chunks)

    def step_done(self, step: Step, following: list[int]) -> list[Sequence]:
        """The step has been computed; `following` are the next tokens, decodes first. Returns the
        sequences that have a token more: the last of what their scripts have `said`."""
        spoken = list(step.decodes)
        for sequence, token in zip(step.decodes, following, strict=False):
            sequence.computed += 1
            _say(sequence, token)
        for (sequence, tokens), token in zip(
            step.chunks, following[len(step.decodes) :], strict=True
        ):
            sequence.computed += tokens
            if sequence.computed == sequence.request.prefill_target:
                _say(sequence, token)
                spoken.append(sequence)
        return spoken

    def parts(self, step: Step) -> tuple[list[Part], list[Part], list[Sampling | None]]:
        """The decodes and prefills of a step, as the engine takes them, and how the next token of
        each is chosen."""
        decodes = [self._part(sequence, 1) for sequence in step.decodes]
        prefills = [self._part(sequence, tokens) for sequence, tokens in step.chunks]
        sequences = [*step.decodes, *(sequence for sequence, _ in step.chunks)]
        return decodes, prefills, [sequence.script.sampling for sequence in sequences]

    def _part(self, sequence: Sequence, count: int) -> Part:
        start = sequence.computed
        state = sequence.request.adapter_state
        return (
            sequence.script.tokens[start : start + count],
            start,
            np.array(sequence.blocks, dtype=np.int32),
            -1 if state is None else self.slots[state.index],
        )

    def check(self) -> None:
        """Between two steps: raises AssertionError unless device and scheduler agree about every
        page, block and adapter."""
        memory, pool = self._memory, self._pool
        memory.check()
        pool.check()
        ours, theirs = pool.accounts, memory.pool
        assert list(ours.held[:ADAPTER]) == theirs.held[:ADAPTER], (ours.held, theirs.held)
        if memory.plan.unified:
            assert list(ours.held) == theirs.held, (ours.held, theirs.held)
            assert ours.free == theirs.free
        assert len(self.slots) == memory.hot.count
        for sequence in self.sequences.values():
            assert len(sequence.blocks) == memory.blocks(sequence.computed)


@dataclass(frozen=True, slots=True)
class Step:
    """A step's sequences; of prefills with the tokens to compute."""

    decodes: list[Sequence]
    chunks: list[tuple[Sequence, int]]


def _say(sequence: Sequence, token: int) -> None:
    """The engine's word for the token that follows what is computed."""
    script, place = sequence.script, sequence.computed
    script.said.append(token)
    if script.known <= place:
        script.tokens[place] = token
        script.known = place + 1
