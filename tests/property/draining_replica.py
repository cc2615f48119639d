"""A replica's scheduler, driven by hand, and a watcher that keeps books of its own."""

from __future__ import annotations

from typing import Any

from simlora.results.steplog import StepLog
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.adapter_state import ABSENT, DRAINING, HOSTED, HOT, AdapterState
from simlora.serving.loading import PCIE, Transfer
from simlora.serving.memory import plan_memory
from simlora.serving.prefix_cache import PrefixNode
from simlora.serving.replica_spec import ReplicaSpec
from simlora.serving.request import FAILED, Request
from simlora.serving.scheduler import BatchScheduler
from simlora.timing import make_timing
from simlora.timing.load_path import load_path
from tests.simulating import PREFIX_BLOCK_TOKENS, small_scenario, with_pool

ADAPTERS = 4
TENANTS = [{"name": "tenant", "count": 3}, {"name": "dear", "tier": "gold"}]
STEP_S = 0.1
KINDS: dict[str, dict[str, Any]] = {
    "unified": {},
    "blocking": {"engine.adapter_loading": "blocking"},
    "slots": {"engine.memory": {"mode": "slots", "max_loras": 2, "max_lora_rank": 16}},
    "exclusive": {"adapters.warm.inclusive": False, "adapters.hot.max_adapters": 2},
    "pinned": {"adapters.hot": {"pinned_tiers": ["gold"], "max_adapters": 3}},
    "first come": {"engine.scheduler.order": "strict_fcfs"},
    "fair": {"gateway.fairness.policy": "wfq"},
    "preempting": {"adapters.hot": {"max_adapters": 2, "when_full": "preempt"}},
    "turned away": {"adapters.cold_start": "reject", "adapters.initial_tier": "nvme"},
    "base meanwhile": {"adapters.cold_start": "base_model", "adapters.initial_tier": "nvme"},
}


class Watcher:
    """Keeps the pool's own books about adapters."""

    def __init__(self) -> None:
        self.resident: set[int] = set()
        self.drained: set[int] = set()

    def admitted(self, request: Request, cached_tokens: int) -> None:
        state = request.adapter_state
        assert state is None or (state.hot == HOT and not state.withdrawn)

    def load_started(self, state: AdapterState) -> None:
        assert state.index not in self.resident and not state.withdrawn
        self.resident.add(state.index)

    def evicted(self, state: AdapterState) -> None:
        assert not state.running
        self.resident.remove(state.index)  # once

    def left(self, request: Request, kv_tokens: int) -> None: ...

    def cached(self, request: Request, blocks: int) -> None: ...

    def forgotten(self, node: PrefixNode) -> None: ...


class Replica:
    """A scheduler, and what is under way beside it."""

    def __init__(self, scenario: Scenario) -> None:
        deployment = expand(scenario)
        timing, plan = make_timing(deployment, 0), plan_memory(deployment, 0)
        spec = ReplicaSpec(deployment, plan, load_path(deployment, 0, timing), PREFIX_BLOCK_TOKENS)
        self.ended: list[Request] = []
        self.scheduler = BatchScheduler(spec, StepLog(len(deployment.tiers)), self.ended)
        self.draining = self.scheduler.withdrawals.draining
        self.watcher = Watcher()
        self.scheduler.memory.watch(self.watcher)
        self.deployment = deployment
        self.requests: list[Request] = []
        self.transfers: list[Transfer] = []
        self.stepping = False
        self.now = 0.0

    def state(self, index: int) -> AdapterState:
        return self.scheduler.tiers.state(index)

    def tick(self) -> float:
        self.now += 0.001
        return self.now

    def ask(self, adapter: int, prompt_tokens: int = 20, output_tokens: int = 5) -> Request:
        tenant = self.deployment.adapters[adapter].tenant if adapter >= 0 else 0
        tier = self.deployment.tenants[tenant].tier
        now, index = self.tick(), len(self.requests)
        request = Request(index, now, tenant, tier, adapter, prompt_tokens, output_tokens)
        request.replica = 0
        self.requests.append(request)
        if not self.scheduler.submit(request, now):
            request.status, request.reason = FAILED, "turned away"
        self.collect()
        return request

    def begin(self) -> None:
        plan = self.scheduler.schedule(self.tick())
        self.stepping = plan is not None
        if plan is not None:
            plan.steps = 1
        self.collect()

    def end(self) -> None:
        self.now += STEP_S
        self.scheduler.complete(self.now, 1, STEP_S)
        self.stepping = False
        self.collect()

    def step(self) -> None:
        self.begin()
        if self.stepping:
            self.end()

    def collect(self) -> None:
        self.transfers += self.scheduler.tiers.outbox
        self.scheduler.tiers.outbox.clear()

    def carry(self, number: int = 0, *, failed: bool = False) -> None:
        transfer = self.transfers.pop(number)
        failed = failed and transfer.link != PCIE
        self.scheduler.transfer_done(transfer, self.tick(), failed=failed)
        self.collect()

    def settle(self) -> None:
        """Until nothing is left to do."""
        if self.stepping:
            self.end()
        for _ in range(5000):
            while self.transfers:
                self.carry()
            if not self.scheduler.outstanding and not self.scheduler.withdrawals.due:
                break
            self.step()

    def check(self) -> None:
        self.scheduler.memory.check()
        states = [self.state(index) for index in range(ADAPTERS)]
        running = [r.adapter_state for r in self.scheduler.running.values()]
        assert [state.running for state in states] == [running.count(state) for state in states]
        assert {state.index for state in states if state.hot != ABSENT} == self.watcher.resident
        for state in states:
            assert state.hot != DRAINING or state.withdrawn
            assert not (state.withdrawn and state.host == HOSTED), "no copy of it is kept"
            assert not (state.withdrawn and state.index in self.scheduler.tiers.lower.warm)
            assert not (state.withdrawn and state.index in self.scheduler.tiers.lower.nvme)


def scenario_of(kind: str, pages_of_prompts: int) -> Scenario:
    """With memory for two adapters and some prompts."""
    scenario = small_scenario(tenants=TENANTS, tiers={"gold": {}}, engine={"max_model_len": 512})
    scenario = scenario.with_overrides(
        {"adapters.initial_tier": "warm", "adapters.loading": {"retries": 1}} | KINDS[kind]
    )
    deployment = expand(scenario)
    plan = plan_memory(deployment, 0)
    blocks = -(-512 // plan.block_tokens) + pages_of_prompts
    adapter_pages = 3 * plan.adapter_pages(deployment.adapters[0].parameters)
    return with_pool(scenario, blocks * plan.block_pages + adapter_pages)
