"""What happens to requests between their clients and the replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.serving.admission import AdmissionControl
from simlora.serving.gateway import Gateway
from simlora.serving.gateway_watcher import GatewayWatcher
from simlora.serving.phases import book_outside
from simlora.serving.placement import Placement
from simlora.serving.request import FAILED, REJECTED, RUNNING, WAITING, Request
from simlora.serving.retries import retry_delay_s
from simlora.serving.routing import ROUTING, Router
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.versions import Versions
from simlora.serving.waiting_room import WaitingRoom

Then = Callable[[float], None]  # told the time
After = Callable[[float, Then], None]  # seconds from now
Onward = Callable[[Request, float], None]


class Replicas(Protocol):
    """What a front door asks of the fleet. Replicas go by their number in it."""

    @property
    def may_come_up(self) -> bool:
        """Whether one that is not up now may ever be."""

    def candidates(self, tenant: int, adapter: int) -> Sequence[BatchScheduler]:
        """The replicas that are up and may serve the tenant's requests with an adapter, of the
        preferred ones among them; empty if there is none."""

    def longest(self, number: int) -> int:
        """The most tokens, prompt and answer together, that a replica takes of a request."""

    def startable(self, number: int) -> bool:
        """Whether a replica may be started when it is off, and is not broken."""

    def serves(self, number: int) -> bool:
        """Whether requests are served there now."""

    def submit(self, request: Request, now: float) -> bool:
        """A request reaches its `replica`, which serves. False: it is turned away there."""

    def give_up(self, request: Request, reason: str, now: float) -> None:
        """Nobody waits any more for a request that is on its `replica`."""


class FrontDoor:
    """Lets requests in, sends them to replicas, and gives them up when their time is over.

    Its driver says what time it is, calls back by `after`, and tells what becomes of replicas and
    of requests on them. Every request ends in `ended`, here or on a replica.

    `on_wait` is called with a request for which no replica is up, or none that it prefers;
    `on_sent` with each that has been sent to one; `on_quiet` when a request was the last to be
    held here, perhaps. `stopped_retries`: clients that are turned away do not come again.
    """

    def __init__(
        self,
        deployment: Deployment,
        replicas: Replicas,
        placement: Placement,
        after: After,
        ended: list[Request],
        *,
        overhead_s: float = 0.0,
        watcher: GatewayWatcher | None = None,
    ) -> None:
        """`overhead_s`: what a server spends on a request beside its steps, where that is not in
        the time that the driver tells."""
        scenario, gateway = deployment.scenario, deployment.scenario.gateway
        self.on_wait: Callable[[Request], None] = lambda _: None
        self.on_sent: Callable[[Request], None] = lambda _: None
        self.on_quiet: Callable[[], None] = lambda: None
        self.stopped_retries = False
        self.homeless = WaitingRoom(placement, replicas.startable)
        self.router: Router = ROUTING.make(gateway.routing)
        self.versions = Versions(deployment)
        self._learn: Callable[[Request, BatchScheduler], None] | None = getattr(
            self.router, "finished", None
        )
        self._housing = False  # at the end of this instant
        self._copied: set[int] = set()  # open requests, which may be let in again
        # Those with a timeout: what is kept until then is a number, not the request.
        self._timed: dict[int, Request] = {}
        self._held_back: dict[int, Request] = {}  # by the gateway, the network or their clients
        self._replicas = replicas
        self._placement = placement
        self._after = after
        self._ended = ended
        self._overhead_s = overhead_s
        self._watcher = watcher
        self._routing = gateway.routing
        self._gateway = Gateway(deployment, self._longest)
        self._admission = AdmissionControl(deployment)
        self._retry_after_s = gateway.admission.retry_after_s
        self._turns_away_homeless = gateway.when_unavailable == "reject" or not replicas.may_come_up
        self._retries_lost = gateway.on_replica_loss == "retry"
        self._clients = scenario.workload.clients
        self._timeouts_s = [gateway.timeouts_s.get(name) for name in deployment.tier_names]
        self._far = len({pool.region for pool in scenario.fleet}) > 1

    @property
    def empty(self) -> bool:
        """Whether every request that has come is on a replica, or at its end."""
        return not self._held_back and not self.homeless.requests

    def receive(self, request: Request, now: float) -> None:
        """A request arrives now."""
        if self.versions.active:
            self.versions.assign(request, now)
        timeout_s = self._timeouts_s[request.tier]
        if timeout_s is not None:
            self._timed[request.index] = request
            self._after(timeout_s, partial(self._time_out, request.index))
        self._let_in(request, now)

    def _time_out(self, index: int, now: float) -> None:
        request = self._timed.get(index)
        if request is not None:
            self.give_up(request, "timeout", now)

    def cut(self, now: float) -> list[Request]:
        """The run ends now. Returns the requests that are here."""
        requests = [*self._held_back.values(), *self.homeless.requests.values()]
        for request in requests:
            book_outside(request, now)
        return requests

    def _longest(self, request: Request) -> int:
        """The most tokens, prompt and answer together, that the replicas take of a request; those
        that may serve it are of one model, and alike in this."""
        (first, *_), *_ = self._placement.choices(request.tenant, request.adapter)
        return self._replicas.longest(first)

    # --- on their way in ----------------------------------------------------------------

    def _let_in(self, request: Request, now: float) -> None:
        """The gateway's decision about a request."""
        wait_s = self._gateway.admit(request, now)
        if wait_s < 0:
            self._turn_away(request, now)
            return
        if wait_s and self._watcher is not None:
            self._watcher.held_back(request, wait_s)
        if wait_s + self._overhead_s == 0:
            self._send_in(request, now)
        else:
            self._hold_back(request, wait_s + self._overhead_s, self._send_in)

    def _send_in(self, request: Request, now: float) -> None:
        """A request has been let in, and with it the copy that a version on trial is to be sent."""
        copy = None
        if self.versions.active and request.index not in self._copied:
            copy = self.versions.shadow_of(request, now)
        self._dispatch(request, now)
        if copy is not None:
            self._copied.add(request.index)
            self._dispatch(copy, now)

    def _hold_back(self, request: Request, wait_s: float, then: Onward) -> None:
        """Go on with a request after a while."""

        def go_on(now: float) -> None:
            if self._held_back.pop(request.index, None) is not None:
                then(request, now)
                self.on_quiet()  # it may have been refused there

        self._held_back[request.index] = request
        self._after(wait_s, go_on)

    def _turn_away(self, request: Request, now: float) -> None:
        """A request is refused: its client asks again, or gives up."""
        asks_again = not (self.stopped_retries or request.shadow)  # nobody asks for a copy
        delay_s = retry_delay_s(self._clients, request) if asks_again else None
        if self._watcher is not None:
            self._watcher.turned_away(request, final=delay_s is None)
        if delay_s is None:
            self._end(request, REJECTED, now)
            return
        request.attempts += 1
        request.reason, request.retry_after_s = "", -1.0
        if self._watcher is not None:
            self._watcher.held_back(request, delay_s)
        self._hold_back(request, delay_s, self._let_in)

    def _dispatch(self, request: Request, now: float) -> None:
        """Send a request that has been let in to a replica, or let it wait for one."""
        replicas = self._replicas.candidates(request.tenant, request.adapter)
        begun = request.preemptions > 0
        if not replicas:
            # Who is turned away has still shown that a replica is wanted.
            self.homeless.add(request)
            self.on_wait(request)
            replicas = self._replicas.candidates(request.tenant, request.adapter)
            if replicas:
                self.homeless.pop(request)
            elif self._turns_away_homeless and not begun:
                self.homeless.pop(request)
                request.reason, request.retry_after_s = "unavailable", self._retry_after_s
                self._turn_away(request, now)
                return
            else:
                return
        if not begun and not self._admission.admits(request, replicas):
            self._turn_away(request, now)
            return
        choice = self.router.choose(request, replicas)
        if not 0 <= choice < len(replicas):
            raise UserError(
                f"gateway.routing: {self._routing} chose replica {choice!r}; allowed are 0 to "
                f"{len(replicas) - 1}"
            )
        number = replicas[choice].number
        if self._far:
            self._cross_regions(request, number, now)
        else:
            self._deliver(request, number, now)

    def _cross_regions(self, request: Request, number: int, now: float) -> None:
        """A replica has been chosen that may be in another region."""
        if number not in self._placement.choices(request.tenant, request.adapter)[0]:
            self.on_wait(request)  # one at home may be asleep

        def arrive(request: Request, now: float) -> None:
            if self._replicas.serves(number):
                self._deliver(request, number, now)
            else:  # lost meanwhile
                self._dispatch(request, now)

        if delay_s := self._placement.delay_s(request.tenant, number):
            self._hold_back(request, delay_s, arrive)
        else:
            arrive(request, now)

    def _deliver(self, request: Request, number: int, now: float) -> None:
        """A request reaches the replica that was chosen for it."""
        request.replica = number
        if self._watcher is not None:
            self._watcher.sent(request)
        if not self._replicas.submit(request, now):
            self._turn_away(request, now)
        self.on_sent(request)

    # --- what comes back ----------------------------------------------------------------

    @property
    def learns(self) -> bool:
        """Whether it makes any use of `finished`."""
        return self._learn is not None or self.versions.active or any(self._timeouts_s)

    def finished(self, request: Request, replica: BatchScheduler) -> None:
        """A request has been completed or has failed on a replica, at its `finish_s`."""
        self._forget(request)
        if self._learn is not None:
            self._learn(request, replica)
        if self.versions.active:
            self.versions.finished(request, request.finish_s)

    def lost(self, requests: Sequence[Request], now: float) -> None:
        """The replicas of these requests have broken down."""
        for request in requests:
            if self._watcher is not None:
                self._watcher.lost(request)
            if self._retries_lost:
                self._dispatch(request, now)
            else:
                self._fail(request, "replica_lost", now)
        self.on_quiet()

    def house(self) -> None:
        """A replica has come up: those it may serve go on, when all that come up at this instant
        are there."""
        if self.homeless.requests and not self._housing:
            self._housing = True
            self._after(0.0, self._house)

    def _house(self, now: float) -> None:
        self._housing = False
        for request in list(self.homeless.requests.values()):
            if self._replicas.candidates(request.tenant, request.adapter):
                self.homeless.pop(request)
                self._dispatch(request, now)
        self.on_quiet()

    def give_up(self, request: Request, reason: str, now: float) -> None:
        """Nobody waits any more for a request that has been received; nothing happens if it is at
        its end."""
        if request.status not in (WAITING, RUNNING):
            return
        here = self._held_back.pop(request.index, None) or self.homeless.pop(request)
        if here is None:
            self._replicas.give_up(request, reason, now)
            return
        self._fail(request, reason, now)
        self.on_quiet()

    def _fail(self, request: Request, reason: str, now: float) -> None:
        book_outside(request, now)
        request.reason = reason
        if self._watcher is not None:
            self._watcher.failed(request)
        self._end(request, FAILED, now)

    def _forget(self, request: Request) -> None:
        """It is at its end, and comes no more."""
        self._timed.pop(request.index, None)
        self._copied.discard(request.index)

    def _end(self, request: Request, status: int, now: float) -> None:
        self._forget(request)
        request.status = status
        request.finish_s = now
        self.versions.finished(request, now)
        self._ended.append(request)
