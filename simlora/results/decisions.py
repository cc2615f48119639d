"""Every decision of a run, in order: `decisions.jsonl`.

A line is one decision: what was decided, in which step, at which time, about whom. Two runs that
decide alike write the same lines; of runs whose clocks differ, all but `time_s` is the same.

In a fleet of several replicas each line tells the `replica` that decided, whose `step` it is; both
are null where the gateway did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simlora.serving.adapter_state import AdapterState
from simlora.serving.loading import NETWORK, PCIE, Transfer
from simlora.serving.prefix_cache import PrefixNode
from simlora.serving.request import COMPLETED, FAILED, Request
from simlora.serving.step import StepPlan

Line = dict[str, Any]


class Decisions:
    """Takes down what gateway and replicas decide: the gateway's side of it as a GatewayWatcher.

    `lines` are those not yet taken by `drain`. Adapters are told by name.
    """

    def __init__(
        self, adapter_names: list[str], now: Callable[[], float], replicas: int = 1
    ) -> None:
        """`now` tells the time of the run, in seconds; `replicas` is the size of the fleet."""
        self.lines: list[Line] = []
        self._names = adapter_names
        self._now = now
        self._many = replicas > 1
        self._replicas: dict[int, ReplicaDecisions] = {}

    def new_replica(self, number: int) -> ReplicaDecisions:
        """What a replica decides that starts at a place in the fleet. Steps are counted on from
        those of the one before it."""
        before = self._replicas.get(number)
        self._replicas[number] = ReplicaDecisions(self, number, before.step if before else 0)
        return self._replicas[number]

    def drain(self) -> list[Line]:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return lines

    def add(self, decision: str, replica: int | None, /, **about: Any) -> Line:
        """Take down a decision; a replica's, or that about a request that is sent to it."""
        decider = self._replicas.get(replica if self._many and replica is not None else 0)
        step = None if decider is None or (self._many and replica is None) else decider.step
        line: Line = {"step": step, "time_s": self._now(), "decision": decision}
        if self._many:
            line["replica"] = replica
        line.update(about)
        self.lines.append(line)
        return line

    def adapter(self, index: int) -> str | None:
        """The name of an adapter; None: the base model."""
        return self._names[index] if index >= 0 else None

    def held_back(self, request: Request, wait_s: float) -> None:
        self.add("held_back", None, request=request.index, wait_s=wait_s)

    def turned_away(self, request: Request, *, final: bool) -> None:
        self.add("turned_away", None, request=request.index, reason=request.reason, final=final)

    def sent(self, request: Request) -> None:
        self.add("sent", request.replica, request=request.index, replica=request.replica)

    def lost(self, request: Request) -> None:
        self.add("lost", request.replica, request=request.index)

    def failed(self, request: Request) -> None:
        self.add("failed", None, request=request.index, reason=request.reason)


class ReplicaDecisions:
    """Takes down what one replica decides, as a MemoryWatcher and by its scheduler's word."""

    def __init__(self, log: Decisions, number: int, step: int) -> None:
        self.step = step
        self._log = log
        self._number = number
        self._decoding: list[int] = []  # in the last step
        # Lines about requests that left the batch, and how often they had been preempted: why they
        # left shows when the scheduler is done with them.
        self._open: list[tuple[Line, Request, int]] = []

    def _add(self, decision: str, **about: Any) -> Line:
        return self._log.add(decision, self._number, **about)

    def stepped(self, plan: StepPlan, decoding: list[int]) -> None:
        """The composition of the coming step; the decoding requests where they have changed."""
        chunks = [[request.index, tokens] for request, tokens in plan.chunks]
        line = self._add("step", decodes=len(decoding), chunks=chunks)
        if decoding != self._decoding:
            line["decoding"] = self._decoding = decoding
        if plan.blocking_loads:
            line["loads"] = [self._log.adapter(state.index) for state in plan.blocking_loads]

    def ordered(self, transfer: Transfer) -> None:
        """A transfer is to be carried out."""
        if transfer.link != PCIE:  # that one is a load, which has been told
            self._add(
                "fetch_started",
                adapter=self._log.adapter(transfer.adapter.index),
                source="store" if transfer.link == NETWORK else "disk",
                attempt=transfer.attempt,
            )

    def failed(self, request: Request) -> None:
        """A request fails here. Of one that was in the batch that is told already."""
        if not any(request is left for _, left, _ in self._open):
            self._add("failed", request=request.index, reason=request.reason)

    def settle(self) -> None:
        """The scheduler has returned: why requests have left the batch can be told."""
        for line, request, preemptions in self._open:
            if request.preemptions > preemptions:
                line["decision"] = "preempted"
                line["emitted_tokens"] = request.emitted_tokens
            elif request.status == COMPLETED:
                line["decision"] = "finished"
            elif request.status == FAILED:
                line["decision"], line["reason"] = "failed", request.reason
        self._open.clear()

    # --- memory -------------------------------------------------------------------------

    def admitted(self, request: Request, cached_tokens: int) -> None:
        state = request.adapter_state
        self._add(
            "admitted",
            request=request.index,
            adapter=None if state is None else self._log.adapter(request.adapter),
            cached_tokens=cached_tokens,
        )

    def left(self, request: Request, kv_tokens: int) -> None:
        line = self._add("left", request=request.index, kv_tokens=kv_tokens)
        self._open.append((line, request, request.preemptions))

    def cached(self, request: Request, blocks: int) -> None:
        self._add("prefix_cached", request=request.index, blocks=blocks)

    def forgotten(self, node: PrefixNode) -> None:
        self._add("prefix_evicted", block=list(node.key))

    def load_started(self, state: AdapterState) -> None:
        self._add("load_started", adapter=self._log.adapter(state.index))

    def evicted(self, state: AdapterState) -> None:
        self._add("adapter_evicted", adapter=self._log.adapter(state.index))
