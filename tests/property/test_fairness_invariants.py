"""What holds of every queue discipline, whatever happens to the requests."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simlora.serving.fairness import DISCIPLINES, QueueDiscipline
from simlora.serving.request import Request
from tests.property.fairness_server import flow_table, make

TIER_WEIGHTS = (10.0, 3.0, 1.0)
TENANTS_EACH = 2
VARIANTS = [
    *DISCIPLINES.names(),
    "priority, ageing",
    "sjf, ageing",
    "drr, by tier",
    "vtc, by tier",
    "wfq, by tier",
    "vtc, reserved",
    "wfq, reserved",
]

# What happens to the queue: by name, with a number that chooses whom it happens to.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "pop", "pop", "remove", "preempt", "output", "finish"]),
        st.integers(0, 99),
    ),
    max_size=80,
)


def build(variant: str) -> QueueDiscipline:
    policy, _, how = variant.partition(", ")
    table = flow_table(TIER_WEIGHTS, TENANTS_EACH)
    if how == "by tier":
        table = replace(table, flow_of_tenant=table.tier_of_flow, tier_of_flow=(0, 1, 2))
        table = replace(table, weights=TIER_WEIGHTS)
    if how == "reserved":
        table = replace(table, shares=(0.5, 0.3, 0.2))
    return make(policy, table, quantum_tokens=50, age_s=2.0 if how == "ageing" else None)


class Story:
    """Carries events out and notes who waits and who runs, apart from the queue."""

    def __init__(self, queue: QueueDiscipline) -> None:
        self.queue = queue
        self.now = 0.0
        self.pushed = 0
        self.waiting: dict[int, Request] = {}
        self.running: list[Request] = []
        self.picks: list[int] = []
        self.gone: list[int] = []

    def happen(self, what: str, number: int) -> None:
        self.now += (number % 4) / 2
        queue, waiting, running = self.queue, self.waiting, self.running
        if what == "push":
            tenant = number % (len(TIER_WEIGHTS) * TENANTS_EACH)
            tokens = (1 + 13 * number % 90, 1 + 7 * number % 40)
            tier = tenant // TENANTS_EACH
            request = Request(self.pushed, self.now, tenant, tier, -1, *tokens, priority=number % 2)
            self.pushed += 1
            waiting[request.index] = request
            queue.push(request, self.now)
        elif what == "pop" and waiting:
            request = queue.pop(self.now)
            assert waiting.pop(request.index) is request
            running.append(request)
            self.picks.append(request.index)
        elif what == "remove" and waiting:
            request = waiting.pop(sorted(waiting)[number % len(waiting)])
            queue.remove(request)
            queue.on_finish(request)
            self.gone.append(request.index)
        elif running:
            request = running[number % len(running)]
            if what == "preempt":
                running.remove(request)
                request.preemptions += 1
                waiting[request.index] = request
                queue.push(request, self.now)
            elif what == "output":
                queue.on_output(request.tenant, number % 30)
            elif what == "finish":
                running.remove(request)
                request.emitted_tokens = request.output_tokens
                queue.on_finish(request)
                self.gone.append(request.index)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=120)
@given(events=EVENTS)
def test_each_request_leaves_once_and_peek_tells_what_pop_gives_by_rank(
    variant: str, events: list[tuple[str, int]]
) -> None:
    queue = build(variant)
    story = Story(queue)
    for what, number in [*events, *[("pop", 0)] * len(events), *[("finish", 0)] * len(events)]:
        story.happen(what, number)
        first = queue.peek(story.now)
        assert sorted(request.index for request in queue) == sorted(story.waiting)
        assert len(queue) == len(story.waiting)
        assert queue.peek(story.now) is first
        if first is None:
            assert not story.waiting
            with pytest.raises(LookupError):
                queue.pop(story.now)
            continue
        ranks = {queue.rank(request, story.now): request for request in queue}
        assert len(ranks) == len(queue)  # no two requests are of one rank
        assert ranks[min(ranks)] is first
        if what == "pop":
            with pytest.raises(KeyError):
                queue.remove(story.running[-1])
    assert sorted(story.gone) == list(range(story.pushed))


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=40)
@given(events=EVENTS)
def test_the_same_events_give_the_same_picks_however_often_one_looks(
    variant: str, events: list[tuple[str, int]]
) -> None:
    once, again = Story(build(variant)), Story(build(variant))
    stranger = Request(10**6, 0.0, 1, 0, -1, 10, 10)
    for what, number in events:
        once.happen(what, number)
        again.queue.peek(again.now)
        again.queue.rank(stranger, again.now)
        again.happen(what, number)
    assert once.picks == again.picks


BY_FLOW = [name for name in VARIANTS if name != "fcfs" and "priority" not in name]


@pytest.mark.parametrize("variant", BY_FLOW)
@settings(max_examples=60)
@given(events=EVENTS, number=st.integers(0, 99))
def test_a_preempted_request_goes_before_all_of_its_tenant_that_were_not(
    variant: str, events: list[tuple[str, int]], number: int
) -> None:
    story = Story(build(variant))
    for what, which in events:
        story.happen(what, which)
    story.happen("preempt", number)
    preempted = Counter(r.tenant for r in story.waiting.values() if r.preemptions)
    while story.waiting:
        story.happen("pop", 0)
        served = story.running[-1]
        if served.preemptions:
            preempted[served.tenant] -= 1
        else:
            assert not preempted[served.tenant]


@settings(max_examples=100)
@given(events=EVENTS)
def test_fcfs_serves_by_arrival(events: list[tuple[str, int]]) -> None:
    story = Story(build("fcfs"))
    for what, number in events:
        first = min(story.waiting, default=None)
        story.happen(what, number)
        if what == "pop" and first is not None:
            assert story.picks[-1] == first


@pytest.mark.parametrize("policy", ["vtc", "wfq", "drr"])
@settings(max_examples=60)
@given(
    prompts=st.lists(st.integers(1, 90), min_size=16, max_size=16),
    before=st.integers(1, 5),
    preemptions=st.integers(1, 3),
)
def test_a_preempted_request_is_charged_once(
    policy: str, prompts: list[int], before: int, preemptions: int
) -> None:
    """What is picked later is what would have been picked had nothing been preempted."""
    picks = []
    for times in (0, preemptions):
        queue = make(policy, flow_table([1.0, 1.0]), quantum_tokens=90, oracle=True)
        for index, prompt in enumerate(prompts):
            flow = index % 2
            queue.push(Request(index, 0.0, flow, flow, -1, prompt, 1), 0.0)
        popped = [queue.pop(0.0) for _ in range(before)]
        victim = popped[-1]
        queue.on_output(1 - victim.tenant, 1000)  # so it is its tenant's turn
        for _ in range(times):
            victim.preemptions += 1
            queue.push(victim, 0.0)
            assert queue.pop(0.0) is victim
        queue.on_output(victim.tenant, 1000)
        picks.append([queue.pop(0.0).index for _ in range(len(queue))])
    assert picks[0] == picks[1]
