"""Every decision of a run, in order: `decisions.jsonl`.

A line is one decision: what was decided, in which step, at which time, about whom. Two runs that
decide alike write the same lines; of runs whose clocks differ, all but `time_s` is the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.serving.adapter_state import AdapterState
from simlora.serving.loading import NETWORK, PCIE, Transfer
from simlora.serving.prefix_cache import PrefixNode
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from simlora.serving.step import StepPlan

DECISIONS = "decisions.jsonl"
LINKS = ("store", "disk", "pcie")  # by the link's number

Line = dict[str, Any]


class Decisions:
    """Takes down what one replica decides, as a MemoryWatcher and by its driver's word.

    `lines` are those not yet taken by `drain`. Adapters are told by name.
    """

    def __init__(self, adapter_names: list[str]) -> None:
        self.lines: list[Line] = []
        self.step = 0
        self._names = adapter_names
        self._now = 0.0
        self._decoding: list[int] = []  # in the last step
        # Lines about requests that left the batch, and how often they had been preempted: why they
        # left shows when the scheduler is done with them.
        self._open: list[tuple[Line, Request, int]] = []

    def at(self, now: float) -> None:
        """What comes next is decided at `now`."""
        self._now = now

    def drain(self) -> list[Line]:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return lines

    def _add(self, decision: str, **about: Any) -> Line:
        line = {"step": self.step, "time_s": self._now, "decision": decision, **about}
        self.lines.append(line)
        return line

    def _adapter(self, index: int) -> str | None:
        return self._names[index] if index >= 0 else None

    # --- before the replica -------------------------------------------------------------

    def held_back(self, request: Request, wait_s: float) -> None:
        """The gateway lets a request wait."""
        self._add("held_back", request=request.index, wait_s=wait_s)

    def sent(self, request: Request) -> None:
        """A request goes to a replica."""
        self._add("sent", request=request.index, replica=request.replica)

    def turned_away(self, request: Request) -> None:
        """A request is refused, for now or for good."""
        final = request.status == REJECTED
        self._add("turned_away", request=request.index, reason=request.reason, final=final)

    def failed(self, request: Request) -> None:
        """A request fails that is not in the batch."""
        self._add("failed", request=request.index, reason=request.reason)

    # --- the batch ----------------------------------------------------------------------

    def stepped(self, plan: StepPlan, decoding: list[int]) -> None:
        """The composition of the coming step; the decoding requests where they have changed."""
        chunks = [[request.index, tokens] for request, tokens in plan.chunks]
        line = self._add("step", decodes=len(decoding), chunks=chunks)
        if decoding != self._decoding:
            line["decoding"] = self._decoding = decoding
        if plan.blocking_loads:
            line["loads"] = [self._adapter(state.index) for state in plan.blocking_loads]

    def ordered(self, transfer: Transfer) -> None:
        """A transfer is to be carried out."""
        if transfer.link != PCIE:  # that one is a load, which has been told
            self._add(
                "fetch_started",
                adapter=self._adapter(transfer.adapter.index),
                source="store" if transfer.link == NETWORK else "disk",
                attempt=transfer.attempt,
            )

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

    def admitted(self, request: Request, cached_tokens: int) -> None:
        self._add(
            "admitted",
            request=request.index,
            adapter=None if request.adapter_state is None else self._adapter(request.adapter),
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
        self._add("load_started", adapter=self._adapter(state.index))

    def evicted(self, state: AdapterState) -> None:
        self._add("adapter_evicted", adapter=self._adapter(state.index))


def as_text(line: Line) -> str:
    """A line of the file, without its end."""
    return json.dumps(line, separators=(",", ":"))


def read_decisions(path: Path) -> Iterator[Line]:
    """The lines of a file, one by one. Raises UserError if it is not such a file."""
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                number += 1
                line = json.loads(text)
                if not isinstance(line, dict):
                    raise ValueError("no object")
                yield line
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise UserError(f"{path}:{number}: is no line of a decision log") from None


def first_difference(
    left: Iterable[Line], right: Iterable[Line], *, with_times: bool = False
) -> tuple[int, Line | None, Line | None] | None:
    """The number (from 1) of the first line in which two logs differ, and both lines, None where
    a log has ended; None if there is no such line. Times are compared only if asked for."""
    others = iter(right)
    number = 0
    for number, line in enumerate(left, 1):
        other = next(others, None)
        if other is None or not _alike(line, other, with_times):
            return number, line, other
    extra = next(others, None)
    return None if extra is None else (number + 1, None, extra)


def _alike(left: Line, right: Line, with_times: bool) -> bool:
    if with_times:
        return left == right
    return {**left, "time_s": None} == {**right, "time_s": None}
