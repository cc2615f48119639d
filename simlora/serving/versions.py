"""Which version of its adapter serves a request: rollouts, their rollbacks and switches."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from math import floor, inf

from simlora.scenario.deployment import Deployment
from simlora.scenario.eligibility import eligible_pools
from simlora.scenario.versions import Rollout
from simlora.serving.canary import Comparison, Verdict
from simlora.serving.request import COMPLETED, FAILED, Request


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What became of one group's rollout.

    `asked`: requests that named an adapter of the group while the rollout was on; `assigned`: those
    that the candidate served, or of which it got a copy (mode `shadow`). Of a canary that was
    promoted only the requests before it count. `switched_at_s`: when each of the first tenants of
    the group changed over (mode `switch`).
    """

    group: int
    asked: int
    assigned: int
    rolled_back: Verdict | None = None
    promoted_at_s: float | None = None
    switched_at_s: tuple[float, ...] = ()


class Versions:
    """Decides about versions. A request keeps the version that it was assigned at its arrival,
    whatever happens to the rollout while it is under way.

    Who gets the candidate is told by a hash of the seed and of who asks, so that runs of the same
    seed agree on it however they differ elsewhere.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._candidates = deployment.candidates
        self._deployment = deployment
        members: dict[int, list[int]] = {}
        for tenant in deployment.tenants:
            members.setdefault(tenant.group, []).append(tenant.index)
        self._states = {
            index: _RolloutState(
                group.rollout,
                index,
                members[index],
                f"{deployment.scenario.seed}/{group.name}",
                _longest(deployment, index, group.rollout),
            )
            for index, group in enumerate(deployment.scenario.tenants)
            if group.rollout is not None
        }
        self.active = bool(self._states)

    def assign(self, request: Request, now: float) -> None:
        """Set the version of a request that has just arrived; to be called once."""
        state = self._state_of(request)
        if state is not None and state.gives_candidate(request, now):
            self._hand_over(request, state)

    def shadow_of(self, request: Request, now: float) -> Request | None:
        """The copy of a request that has just arrived which the candidate is to be sent as well."""
        state = self._state_of(request)
        if state is None or not state.wants_copy(request, now):
            return None
        copy = Request(
            -1 - request.index,
            request.arrival_s,
            request.tenant,
            request.tier,
            request.adapter,
            request.prompt_tokens,
            request.output_tokens,
            request.session,
            request.priority,
            request.prefix_hashes,
        )
        copy.shadow = True
        copy.turn = request.turn
        self._hand_over(copy, state)
        return copy

    def finished(self, request: Request, now: float) -> None:
        """A request has completed or failed (others are no measure of a version). What is learnt
        may roll the candidate back: requests that arrive from now on get the stable version."""
        state = self._states.get(self._deployment.tenants[request.tenant].group)
        if state is not None and request.adapter >= 0:
            state.learn(request, request.adapter not in self._candidates, now)

    def facts(self, now: float) -> tuple[VersionFacts, ...]:
        """What became of the rollouts up to now, in the order of the groups."""
        return tuple(state.facts(now) for state in self._states.values())

    def _state_of(self, request: Request) -> _RolloutState | None:
        """The rollout that decides about a request; None if it names no adapter that has a
        candidate, or names the candidate itself."""
        if request.adapter not in self._candidates:
            return None
        return self._states[self._deployment.tenants[request.tenant].group]

    def _hand_over(self, request: Request, state: _RolloutState) -> None:
        """Hand a request to the candidate. A longer answer ends where the context does."""
        request.adapter = self._candidates[request.adapter]
        factor, stable = state.config.candidate.output_factor, request.output_tokens
        room = max(state.longest - request.prompt_tokens, stable)
        request.output_tokens = min(max(round(stable * factor), 1), room)


def _longest(deployment: Deployment, group: int, rollout: Rollout) -> int:
    """The most tokens, prompt and answer together, that the pools take of a request to a group's
    candidate."""
    scenario = deployment.scenario
    if scenario.engine.max_model_len is not None:
        return scenario.engine.max_model_len
    pools = eligible_pools(scenario, group, rollout.candidate.model)
    return min(deployment.models[pool].max_position_embeddings for pool in pools)


class _RolloutState:
    """The rollout of one group under way. `longest`: tokens that the candidate's pools take."""

    def __init__(
        self, config: Rollout, group: int, members: list[int], salt: str, longest: int
    ) -> None:
        self.config = config
        self.longest = longest
        self._group = group
        self._members = len(members)
        self._first = members[0]
        self._salt = salt
        self._asked = self._assigned = 0
        self._rolled_back: Verdict | None = None
        self._comparison = Comparison(config.rollback) if config.rollback else None
        self._end_s = inf if config.end_s is None else config.end_s

    def gives_candidate(self, request: Request, now: float) -> bool:
        """Whether the candidate serves a request that arrives now."""
        mode = self.config.mode
        if mode in ("pinned", "shadow"):
            return False
        if mode == "switch":
            number = request.tenant - self._first
            assert self.config.every_s is not None
            switched = now >= self.config.start_s + number * self.config.every_s
            return self._count(switched) if now >= self.config.start_s else False
        if self._is_on(now):
            return self._count(self._is_drawn(request))
        return mode == "canary" and self._is_promoted(now)

    def wants_copy(self, request: Request, now: float) -> bool:
        """Whether the candidate is to get a copy of a request that arrives now."""
        if self.config.mode != "shadow" or not self._is_on(now):
            return False
        return self._count(self._is_drawn(request))

    def learn(self, request: Request, candidate: bool, now: float) -> None:
        """Take note of how a request fared, and perhaps roll back."""
        if self._comparison is None or not self._is_on(now):
            return
        # Both versions are measured on the same time.
        if request.arrival_s < self.config.start_s:
            return
        # That no replica can serve a version counts against it; other refusals are no measure.
        if request.status not in (COMPLETED, FAILED) and request.reason != "unavailable":
            return
        ttft_s, tpot_s, e2e_s = inf, inf, inf
        if request.status == COMPLETED:
            ttft_s = request.first_token_s - request.arrival_s
            e2e_s = request.finish_s - request.arrival_s
            gaps = request.output_tokens - 1
            tpot_s = (request.finish_s - request.first_token_s) / gaps if gaps else -1.0
        self._comparison.add(candidate, now, ttft_s, tpot_s, e2e_s)
        self._rolled_back = self._comparison.verdict(now)

    def facts(self, now: float) -> VersionFacts:
        return VersionFacts(
            self._group,
            self._asked,
            self._assigned,
            self._rolled_back,
            self.config.end_s if self._is_promoted(now) else None,
            self._switched_at_s(now),
        )

    def _is_on(self, now: float) -> bool:
        """Whether the versions are being compared."""
        config = self.config
        if config.mode in ("pinned", "switch") or self._rolled_back is not None:
            return False
        return config.start_s <= now < self._end_s

    def _is_promoted(self, now: float) -> bool:
        return self.config.mode == "canary" and self._rolled_back is None and now >= self._end_s

    def _switched_at_s(self, now: float) -> tuple[float, ...]:
        config = self.config
        if config.mode != "switch" or now < config.start_s:
            return ()
        assert config.every_s is not None
        switched = min(self._members, floor((now - config.start_s) / config.every_s) + 1)
        return tuple(config.start_s + number * config.every_s for number in range(switched))

    def _count(self, assigned: bool) -> bool:
        self._asked += 1
        self._assigned += assigned
        return assigned

    def _is_drawn(self, request: Request) -> bool:
        """Whether the request belongs to the candidate's share."""
        assert self.config.share is not None
        if request.session >= 0:
            who = f"session {request.session}"
        else:
            who = "" if self.config.mode == "ab" else f"request {request.index}"
        text = f"{self._salt}/{request.tenant - self._first}/{who}"
        digest = blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.config.share * 2**64
