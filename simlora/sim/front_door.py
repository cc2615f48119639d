"""What happens to requests between their clients and the replicas, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from simpy import Environment
from simpy.events import Event

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.serving.admission import AdmissionControl
from simlora.serving.gateway import Gateway
from simlora.serving.phases import book_outside
from simlora.serving.placement import Placement
from simlora.serving.request import FAILED, REJECTED, RUNNING, WAITING, Request
from simlora.serving.retries import retry_delay_s
from simlora.serving.routing import Router
from simlora.serving.versions import Versions
from simlora.sim.fleet import Fleet
from simlora.sim.waiting_room import WaitingRoom

Then = Callable[[Request, float], None]


class FrontDoor:
    """Lets requests in, sends them to replicas, and gives them up when their time is over.

    Every request ends in `ended`, here or on a replica. `on_wait` is called with a request for
    which no replica is up, or none that it prefers; `on_sent` with each that has been sent to one;
    `on_quiet` when a request was the last to be held here, perhaps.
    """

    def __init__(
        self,
        env: Environment,
        deployment: Deployment,
        fleet: Fleet,
        placement: Placement,
        router: Router,
        versions: Versions,
        ended: list[Request],
    ) -> None:
        gateway = deployment.scenario.gateway
        self.on_wait: Callable[[Request], None] = lambda _: None
        self.on_sent: Callable[[Request], None] = lambda _: None
        self.on_quiet: Callable[[], None] = lambda: None
        self.homeless = WaitingRoom(placement, fleet.startable)
        self._housing = False  # at the end of this instant
        self._copied: set[int] = set()  # requests, which may be let in again
        self._held_back: dict[int, Request] = {}  # by the gateway, the network or their clients
        self._env = env
        self._deployment = deployment
        self._fleet = fleet
        self._placement = placement
        self._router = router
        self._versions = versions
        self._ended = ended
        # What a server spends on a request beside its steps. The replica is not chosen yet, so of
        # several kinds the slowest counts.
        self._overhead_s = max(timing.request_overhead_s for timing in fleet.timings)
        self._gateway = Gateway(deployment, self._longest)
        self._admission = AdmissionControl(deployment)
        self._retry_after_s = gateway.admission.retry_after_s
        self._turns_away_homeless = gateway.when_unavailable == "reject"
        self._retries_lost = gateway.on_replica_loss == "retry"
        self._clients = deployment.scenario.workload.clients
        self._timeouts_s = [gateway.timeouts_s.get(name) for name in deployment.tier_names]
        regions = {pool.region for pool in deployment.scenario.fleet}
        self._far = len(regions) > 1

    @property
    def empty(self) -> bool:
        """Whether every request that has come is on a replica, or at its end."""
        return not self._held_back and not self.homeless.requests

    def receive(self, request: Request, now: float) -> None:
        """A request arrives now."""
        timeout_s = self._timeouts_s[request.tier]
        if timeout_s is not None:
            timeout = self._env.timeout(timeout_s)
            timeout.callbacks.append(lambda _: self._give_up(request))
        self._let_in(request, now)

    def cut(self) -> list[Request]:
        """The run ends now. Returns the requests that are here."""
        requests = [*self._held_back.values(), *self.homeless.requests.values()]
        for request in requests:
            book_outside(request, self._env.now)
        return requests

    def _longest(self, request: Request) -> int:
        """The most tokens, prompt and answer together, that the replicas take of a request; those
        that may serve it are of one model, and alike in this."""
        (first, *_), *_ = self._placement.choices(request.tenant, request.adapter)
        return self._fleet.plans[first].max_model_len

    # --- on their way in ----------------------------------------------------------------

    def _let_in(self, request: Request, now: float) -> None:
        """The gateway's decision about a request."""
        wait_s = self._gateway.admit(request, now)
        if wait_s < 0:
            self._turn_away(request, now)
        elif wait_s + self._overhead_s == 0:
            self._send_in(request, now)
        else:
            self._hold_back(request, wait_s + self._overhead_s, self._send_in)

    def _send_in(self, request: Request, now: float) -> None:
        """A request has been let in, and with it the copy that a version on trial is to be sent."""
        copy = None
        if self._versions.active and request.index not in self._copied:
            copy = self._versions.shadow_of(request, now)
        self.dispatch(request, now)
        if copy is not None:
            self._copied.add(request.index)
            self.dispatch(copy, now)

    def _hold_back(self, request: Request, wait_s: float, then: Then) -> None:
        """Go on with a request after a while."""

        def go_on(_: Event) -> None:
            if self._held_back.pop(request.index, None) is not None:
                then(request, self._env.now)
                self.on_quiet()  # it may have been refused there

        self._held_back[request.index] = request
        self._env.timeout(wait_s).callbacks.append(go_on)

    def _turn_away(self, request: Request, now: float) -> None:
        """A request is refused: its client asks again, or gives up."""
        delay_s = retry_delay_s(self._clients, request)
        if delay_s is None or request.shadow:  # nobody asks for a copy
            self._end(request, REJECTED, now)
            return
        request.attempts += 1
        request.reason, request.retry_after_s = "", -1.0
        self._hold_back(request, delay_s, self._let_in)

    def dispatch(self, request: Request, now: float) -> None:
        """Send a request that has been let in to a replica, or let it wait for one."""
        replicas = self._fleet.candidates(request.tenant, request.adapter)
        begun = request.preemptions > 0
        if not replicas:
            # Who is turned away has still shown that a replica is wanted.
            self.homeless.add(request)
            self.on_wait(request)
            replicas = self._fleet.candidates(request.tenant, request.adapter)
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
        choice = self._router.choose(request, replicas)
        if not 0 <= choice < len(replicas):
            raise UserError(
                f"gateway.routing: {self._deployment.scenario.gateway.routing} chose replica "
                f"{choice!r}; allowed are 0 to {len(replicas) - 1}"
            )
        number = replicas[choice].number
        if self._far and number not in self._placement.choices(request.tenant, request.adapter)[0]:
            self.on_wait(request)  # one at home may be asleep
        delay_s = self._placement.delay_s(request.tenant, number) if self._far else 0.0
        if delay_s:
            self._hold_back(request, delay_s, lambda r, at_s: self._deliver(r, number, at_s))
        else:
            self._deliver(request, number, now)

    def _deliver(self, request: Request, number: int, now: float) -> None:
        """A request reaches the replica that was chosen for it."""
        member = self._fleet.members[number]
        if not member.running:  # lost meanwhile
            self.dispatch(request, now)
            return
        request.replica = number
        if not member.process.submit(request, now):
            self._turn_away(request, now)
        self.on_sent(request)

    # --- what comes back ----------------------------------------------------------------

    def lost(self, requests: list[Request]) -> None:
        """The replicas of these requests have broken down."""
        now = self._env.now
        for request in requests:
            if self._retries_lost:
                self.dispatch(request, now)
            else:
                self._fail(request, "replica_lost")
        self.on_quiet()

    def house(self) -> None:
        """A replica has come up: those it may serve go on, when all that come up at this instant
        are there."""
        if self.homeless.requests and not self._housing:
            self._housing = True
            self._env.timeout(0).callbacks.append(lambda _: self._house())

    def _house(self) -> None:
        self._housing = False
        for request in list(self.homeless.requests.values()):
            if self._fleet.candidates(request.tenant, request.adapter):
                self.homeless.pop(request)
                self.dispatch(request, self._env.now)
        self.on_quiet()

    def _give_up(self, request: Request) -> None:
        """The time of a request is over."""
        if request.status not in (WAITING, RUNNING):
            return
        here = self._held_back.pop(request.index, None) or self.homeless.pop(request)
        if here is None:
            self._fleet.members[request.replica].process.give_up(request, "timeout")
            return
        self._fail(request, "timeout")
        self.on_quiet()

    def _fail(self, request: Request, reason: str) -> None:
        book_outside(request, self._env.now)
        request.reason = reason
        self._end(request, FAILED, self._env.now)

    def _end(self, request: Request, status: int, now: float) -> None:
        request.status = status
        request.finish_s = now
        self._versions.finished(request, now)
        self._ended.append(request)
