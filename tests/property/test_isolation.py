"""Nothing that is private is ever found by somebody else, in any traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings

from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.namespaces import Namespaces, common_prefix
from simlora.serving.replica_memory import ReplicaMemory
from simlora.serving.request import Request
from simlora.workload.blocks import RequestBlock, Traffic
from tests.property.cases import Case, cases
from tests.simulating import run

PRIVATE_MODES = ("adapter", "tenant", "selective")
COMMON_BLOCKS = 3  # of the platform's prompt, with which one of three generated prompts begins


def under(case: Case, isolation: str, public: str = "") -> tuple[Scenario, Traffic]:
    """The case under a mode, its first root made the platform's prompt; the prompts of the group
    named `public` are classed as that."""
    scenario = case.scenario.with_overrides(
        {"engine.prefix_cache.enabled": True, "engine.prefix_cache.isolation": isolation}
    )
    load = replace(case.load, hashed=True)
    common_tokens = COMMON_BLOCKS * load.prefix_block_tokens
    arrivals = {"sessions": {"common_prefix_tokens": common_tokens}}
    plain = scenario.model_dump(mode="json")
    plain["workload"]["arrivals"] = arrivals
    for group in plain["tenants"]:
        group["prompt_class"] = "public" if group["name"] == public else "private"
    scenario = Scenario.model_validate(plain)
    traffic = load.traffic(expand(scenario))
    common = common_prefix(COMMON_BLOCKS)

    def blocks() -> Iterator[RequestBlock]:
        for block in traffic.blocks():
            assert block.prefix_hashes is not None
            for hashes in block.prefix_hashes:
                # Ids below 1000 are those of the first root, by position.
                hashes[:] = [common[id_] if id_ < COMMON_BLOCKS else id_ for id_ in hashes]
            yield block

    return scenario, replace(traffic, blocks=blocks)


@dataclass
class Watch:
    """Looks on at the real memories: who computed which block there, and who found it later.

    `foreign` counts the blocks found that no request of the same tenant had computed on that
    replica, `private` those of them that are not public.
    """

    public_tenants: set[int]
    common: list[int]
    found: int = 0
    foreign: int = 0
    private: int = 0
    computed: dict[tuple[int, int], set[int]] = field(default_factory=dict)
    memories: list[ReplicaMemory] = field(default_factory=list)  # kept, so that ids stay theirs

    def adopts(self, memory: ReplicaMemory, request: Request, kv_tokens: int) -> None:
        assert memory.prefix is not None
        self.memories.append(memory)
        for block in (request.prefix_hashes or [])[: kv_tokens // memory.prefix.block_tokens]:
            self.computed.setdefault((id(memory), block), set()).add(request.tenant)

    def finds(self, memory: ReplicaMemory, request: Request, tokens: int) -> None:
        assert memory.prefix is not None
        count = tokens // memory.prefix.block_tokens
        for position, block in enumerate((request.prefix_hashes or [])[:count]):
            by = self.computed[id(memory), block]
            self.found += 1
            if request.tenant not in by:
                self.foreign += 1
                public = self.common[position : position + 1] == [block]
                public |= bool(by & self.public_tenants) and request.tenant in self.public_tenants
                self.private += not public

    @contextmanager
    def on_duty(self) -> Iterator[None]:
        acquire, adopt = ReplicaMemory.acquire_prefix, ReplicaMemory.adopt_prefix

        def acquire_prefix(memory: ReplicaMemory, request: Request, tokens: int, now: float) -> int:
            cached = acquire(memory, request, tokens, now)
            if cached:
                self.finds(memory, request, cached)
            return cached

        def adopt_prefix(
            memory: ReplicaMemory, request: Request, kv_tokens: int, now: float
        ) -> None:
            adopt(memory, request, kv_tokens, now)
            self.adopts(memory, request, kv_tokens)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ReplicaMemory, "acquire_prefix", acquire_prefix)
            patch.setattr(ReplicaMemory, "adopt_prefix", adopt_prefix)
            yield


def foreign_blocks(case: Case, isolation: str, public: str = "") -> Watch:
    scenario, traffic = under(case, isolation, public)
    selective = isolation == "selective"
    groups = scenario.tenants
    watch = Watch(
        {
            tenant.index
            for tenant in expand(scenario).tenants
            if selective and groups[tenant.group].prompt_class == "public"
        },
        common_prefix(COMMON_BLOCKS) if selective else [],
    )
    with watch.on_duty():
        run(scenario, traffic)
    return watch


@pytest.mark.parametrize("isolation", PRIVATE_MODES)
def test_no_tenant_finds_private_content_that_only_others_have_sent(isolation: str) -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(cases())
    def isolated(case: Case) -> None:
        watch = foreign_blocks(case, isolation)
        assert watch.private == 0
        if isolation != "selective":
            assert watch.foreign == 0
        seen["found"] += watch.found > 0
        seen["foreign"] += watch.foreign > 0

    isolated()
    assert seen["found"] >= 3, "hardly any example has a hit, so that this says nothing"
    if isolation == "selective":
        assert seen["foreign"] >= 3, "hardly anybody shares the platform's prompt"


def test_public_tenants_share_among_themselves_and_private_ones_stay_apart() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(cases())
    def isolated(case: Case) -> None:
        watch = foreign_blocks(case, "selective", public="free")
        assert watch.private == 0
        seen["foreign"] += watch.foreign > 0

    isolated()
    assert seen["foreign"] >= 3


def test_sharing_is_seen_as_such() -> None:
    """What the tests above count is there when everything is shared."""
    seen = 0

    @settings(max_examples=100)
    @given(cases())
    def shared(case: Case) -> None:
        nonlocal seen
        seen += foreign_blocks(case, "shared").private > 0

    shared()
    assert seen >= 3


def _one_namespace(self: ReplicaMemory, request: Request) -> int:
    return 0


def _all_public(self: Namespaces, request: Request) -> int:
    return len(request.prefix_hashes or ())


def _by_position(self: Namespaces, request: Request) -> int:
    return COMMON_BLOCKS


@pytest.mark.parametrize(
    ("of", "name", "mistake", "isolation"),
    [
        (ReplicaMemory, "_namespace", _one_namespace, "adapter"),
        (ReplicaMemory, "_namespace", _one_namespace, "tenant"),
        (ReplicaMemory, "_namespace", _one_namespace, "selective"),
        (Namespaces, "public_blocks", _all_public, "selective"),
        (Namespaces, "public_blocks", _by_position, "selective"),
    ],
)
def test_a_lost_namespace_would_show(
    monkeypatch: pytest.MonkeyPatch, of: type, name: str, mistake: Any, isolation: str
) -> None:
    monkeypatch.setattr(of, name, mistake)

    @settings(max_examples=300, phases=[Phase.generate], report_multiple_bugs=False)
    @given(cases())
    def isolated(case: Case) -> None:
        assert foreign_blocks(case, isolation).private == 0

    with pytest.raises(AssertionError):
        isolated()
