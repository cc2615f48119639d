"""What goes on in a run, seen from outside: methods wrapped so that their calls are noted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from simlora.serving.decode_set import DecodeSet
from simlora.serving.phases import PhaseBook
from simlora.serving.pool_leak import PoolLeak
from simlora.serving.request import RUNNING, Request
from simlora.serving.step import StepPlan
from simlora.serving.versions import Versions
from simlora.serving.withdrawals import Withdrawals
from simlora.sim.faults import LoadFaults
from simlora.sim.fleet import DRAINING, OFF, STARTING, UP, Fleet, Member
from simlora.sim.replica import ReplicaProcess

Wrapper = Callable[..., Any]


def wrap(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, wrapper: Wrapper) -> None:
    """Let `wrapper(real, self, …)` take the place of a method."""
    real = getattr(owner, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return wrapper(real, self, *args, **kwargs)

    monkeypatch.setattr(owner, name, method)


class Watch:
    """Notes what happens to the platform, by name, in `seen`, until that is cleared."""

    NAMES = (
        "lost while it decodes",
        "lost while it prefills",
        "lost while it waits",
        "lost while it waits for its adapter",
        "lost while it was to leave",
        "lost while it starts",
        "lost while it drains",
        "lost while it is off or down",
        "timed out while running",
        "timed out while waiting",
        "started",
        "start called off",
        "drains",
        "taken back while it drains",
        "switched off",
        "slowed in a run of steps",
        "leaked",
        "leak waits for memory",
        "transfer failed in an outage",
        "corrupt transfer",
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: Counter[str] = Counter()
        for owner, name, wrapper in (
            (Withdrawals, "evacuate", self._evacuate),
            (Withdrawals, "give_up", self._give_up),
            (Fleet, "lose", self._lose),
            (Member, "change", self._change),
            (ReplicaProcess, "slow_down", self._slow_down),
            (PoolLeak, "take", self._take),
            (LoadFaults, "fails", self._fails),
        ):
            wrap(monkeypatch, owner, name, wrapper)

    def _evacuate(self, real: Wrapper, withdrawals: Withdrawals, now: float) -> Any:
        scheduler: Any = withdrawals._scheduler
        seen = self.seen
        for request in scheduler.running.values():
            decodes = request.finish_step >= 0
            seen["lost while it decodes" if decodes else "lost while it prefills"] += 1
        for request in scheduler.waiting_requests():
            waits = request.adapter_state is not None and request in request.adapter_state.waiting
            seen["lost while it waits for its adapter" if waits else "lost while it waits"] += 1
        pending = [request for request, _ in withdrawals.pending.values()]
        seen["lost while it was to leave"] += sum(r.status == RUNNING for r in pending)
        return real(withdrawals, now)

    def _give_up(self, real: Wrapper, withdrawals: Any, request: Request, *rest: Any) -> None:
        running = request.status == RUNNING
        self.seen["timed out while running" if running else "timed out while waiting"] += 1
        real(withdrawals, request, *rest)

    def _lose(self, real: Wrapper, fleet: Any, member: Member, duration_s: float) -> Any:
        states = {STARTING: "starts", DRAINING: "drains", UP: ""}
        state = states.get(member.state, "is off or down")
        if state:
            self.seen[f"lost while it {state}"] += 1
        return real(fleet, member, duration_s)

    def _change(self, real: Wrapper, member: Member, state: int, now: float) -> None:
        change = {
            (OFF, STARTING): "started",
            (STARTING, OFF): "start called off",
            (UP, DRAINING): "drains",
            (DRAINING, UP): "taken back while it drains",
            (DRAINING, OFF): "switched off",
        }.get((member.state, state))
        if change:
            self.seen[change] += 1
        real(member, state, now)

    def _slow_down(self, real: Wrapper, process: Any, factor: float) -> None:
        self.seen["slowed in a run of steps"] += process._run_steps > 1 and factor != 1
        real(process, factor)

    def _take(self, real: Wrapper, leak: PoolLeak, now: float) -> None:
        real(leak, now)
        self.seen["leaked"] += leak.lost > 0
        self.seen["leak waits for memory"] += leak.pending > 0

    def _fails(self, real: Wrapper, faults: Any, transfer: Any) -> bool:
        fails: bool = real(faults, transfer)
        if fails and not faults._rate:
            corrupt = faults._outages.corrupt[transfer.adapter.index] > 0
            self.seen["corrupt transfer" if corrupt else "transfer failed in an outage"] += 1
        return fails


class Tokens:
    """Counts the tokens that a run's steps generate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.generated = 0
        wrap(monkeypatch, DecodeSet, "advance", self._advance)
        wrap(monkeypatch, PhaseBook, "prefilled", self._prefilled)

    def _advance(self, real: Wrapper, decodes: DecodeSet, steps: int) -> None:
        self.generated += steps * decodes.shape.decode_seqs
        real(decodes, steps)

    def _prefilled(self, real: Wrapper, phases: Any, *args: Any) -> None:
        self.generated += 1
        real(phases, *args)


class Weights:
    """Notes which adapter each request was assigned, and which ones computed it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.assigned: dict[int, int] = {}
        self.used: dict[int, set[int]] = {}  # -1: the base model
        wrap(monkeypatch, Versions, "assign", self._assign)
        wrap(monkeypatch, Versions, "shadow_of", self._shadow_of)
        wrap(monkeypatch, StepPlan, "add_chunk", self._add_chunk)
        wrap(monkeypatch, DecodeSet, "join", self._join)

    def clear(self) -> None:
        self.assigned.clear()
        self.used.clear()

    def _assign(self, real: Wrapper, versions: Any, request: Request, now: float) -> None:
        real(versions, request, now)
        self.assigned[request.index] = request.adapter

    def _shadow_of(self, real: Wrapper, versions: Any, *args: Any) -> Request | None:
        copy: Request | None = real(versions, *args)
        if copy is not None:
            self.assigned[copy.index] = copy.adapter
        return copy

    def _add_chunk(self, real: Wrapper, plan: Any, request: Request, chunk: int) -> None:
        self._note(request)
        real(plan, request, chunk)

    def _join(self, real: Wrapper, decodes: Any, request: Request, kv_tokens: int) -> None:
        self._note(request)
        real(decodes, request, kv_tokens)

    def _note(self, request: Request) -> None:
        state = request.adapter_state
        used = -1 if state is None else state.index
        self.used.setdefault(request.index, set()).add(used)
