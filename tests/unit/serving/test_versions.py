"""Which version of an adapter serves a request, and when a new one is given up."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.versions import Rollback
from simlora.serving.canary import Comparison, percentile
from simlora.serving.request import COMPLETED, FAILED, REJECTED, Request
from simlora.serving.versions import Versions
from tests.simulating import small_scenario

COUNT = 3  # tenants of the group with the rollout: adapters 0, 1, 2, their candidates after all
OTHER = 3  # the adapter of the group without one


def deployment(
    seed: int = 0, candidate: dict[str, Any] | None = None, **rollout: Any
) -> Deployment:
    return expand(
        small_scenario(
            seed=seed,
            tenants=[
                {
                    "name": "acme",
                    "count": COUNT,
                    "rollout": {"candidate": candidate or {"adapter": {"rank": 32}}, **rollout},
                },
                {"name": "other"},
            ],
        )
    )


def ask(index: int, adapter: int, now: float = 0.0, session: int = -1) -> Request:
    tenant = adapter if adapter >= 0 else 0
    return Request(index, now, tenant, 0, adapter, 20, 10, session)


def assigned(versions: Versions, request: Request) -> bool:
    """Whether the candidate is to serve the request."""
    stable = request.adapter
    versions.assign(request, request.arrival_s)
    assert request.adapter in (stable, stable + COUNT + 1)
    return request.adapter != stable


def end(
    versions: Versions,
    request: Request,
    ttft_s: float,
    *,
    status: int = COMPLETED,
    gap_s: float = 0.1,
) -> None:
    """The request ends at its arrival, as far as the clock goes; its latency is as given."""
    request.status = status
    request.first_token_s = request.arrival_s + ttft_s
    request.finish_s = request.first_token_s + gap_s * (request.output_tokens - 1)
    versions.finished(request, request.arrival_s)


def test_no_rollout_means_nothing_to_do() -> None:
    versions = Versions(expand(small_scenario()))
    assert not versions.active
    assert versions.facts(1.0) == ()


def test_candidates_come_after_all_other_adapters_and_belong_to_their_tenant() -> None:
    of = deployment(mode="canary", share=0.5)
    assert [adapter.name for adapter in of.adapters] == [
        *(f"acme-{n:04d}" for n in range(COUNT)),
        "other-0000",
        *(f"acme-{n:04d}@v2" for n in range(COUNT)),
    ]
    assert of.candidates == {0: 4, 1: 5, 2: 6}
    assert [list(tenant.adapters) for tenant in of.tenants] == [[0], [1], [2], [3]]
    assert [of.adapters[i].tenant for i in (4, 5, 6)] == [0, 1, 2]
    assert of.adapters[4].parameters == 2 * of.adapters[0].parameters  # rank 32 over 16


def test_a_candidate_of_another_base_has_that_bases_shapes() -> None:
    of = expand(
        small_scenario(
            model="llama-3.1-8b",
            fleet=[{"gpu": "h100-80gb"}, {"gpu": "h100-80gb", "model": "qwen2.5-7b"}],
            tenants=[
                {
                    "name": "acme",
                    "rollout": {
                        "mode": "switch",
                        "every_s": 1.0,
                        "candidate": {"model": "qwen2.5-7b"},
                    },
                }
            ],
        )
    )
    stable, candidate = of.adapters
    assert (stable.model, candidate.model) == ("llama-3.1-8b", "qwen2.5-7b")
    assert candidate.rank == stable.rank
    assert candidate.parameters == of.models[1].lora_parameters(16, "all-linear")
    assert candidate.parameters != stable.parameters
    assert [[a.name for a in of.served_by(pool)] for pool in (0, 1)] == [
        [stable.name],
        [candidate.name],
    ]


def test_a_canary_gets_its_share_of_the_requests_from_its_start_to_its_end() -> None:
    versions = Versions(deployment(mode="canary", share=0.1, start_s=100.0, end_s=200.0))
    assert not any(assigned(versions, ask(i, i % COUNT, 99.9)) for i in range(1000))
    during = sum(assigned(versions, ask(i, i % COUNT, 150.0)) for i in range(10_000))
    assert during == pytest.approx(1000, abs=120)  # four standard deviations
    (fact,) = versions.facts(199.0)
    assert (fact.asked, fact.assigned, fact.promoted_at_s) == (10_000, during, None)
    assert all(assigned(versions, ask(i, i % COUNT, 200.0)) for i in range(100))
    (fact,) = versions.facts(200.0)
    assert (fact.asked, fact.assigned, fact.promoted_at_s) == (10_000, during, 200.0)


def test_who_gets_the_canary_depends_on_the_seed_alone() -> None:
    def drawn(seed: int, share: float) -> set[int]:
        versions = Versions(deployment(seed, mode="canary", share=share))
        return {i for i in range(2000) if assigned(versions, ask(i, i % COUNT))}

    assert drawn(1, 0.1) == drawn(1, 0.1)
    assert drawn(1, 0.1) != drawn(2, 0.1)
    assert drawn(1, 0.1) < drawn(1, 0.3)  # a larger share keeps whom it had


@pytest.mark.parametrize("mode", ["canary", "ab"])
def test_a_session_stays_with_one_version(mode: str) -> None:
    versions = Versions(deployment(mode=mode, share=0.5))
    arms: dict[int, set[bool]] = {}
    for index in range(4000):
        session = index % 400
        arms.setdefault(session, set()).add(
            assigned(versions, ask(index, session % COUNT, session=session))
        )
    assert all(len(arm) == 1 for arm in arms.values())
    drawn = Counter(arm.copy().pop() for arm in arms.values())
    assert drawn[True] == pytest.approx(200, abs=40)


def test_an_ab_test_without_sessions_gives_a_tenant_one_arm_and_ends() -> None:
    versions = Versions(deployment(mode="ab", share=0.5, end_s=10.0))
    for tenant in range(COUNT):
        assert len({assigned(versions, ask(i, tenant, 5.0)) for i in range(50)}) == 1
    assert not any(assigned(versions, ask(i, i % COUNT, 10.0)) for i in range(100))


def test_tenants_change_over_one_after_another_for_good() -> None:
    versions = Versions(deployment(mode="switch", start_s=60.0, every_s=30.0))
    for tenant in range(COUNT):
        instant = 60.0 + 30.0 * tenant
        assert not assigned(versions, ask(0, tenant, instant - 0.01))
        assert assigned(versions, ask(1, tenant, instant))
        assert assigned(versions, ask(2, tenant, 1e6))
    assert versions.facts(59.9)[0].switched_at_s == ()
    assert versions.facts(90.0)[0].switched_at_s == (60.0, 90.0)
    assert versions.facts(1e6)[0].switched_at_s == (60.0, 90.0, 120.0)


def test_pinned_requests_those_of_others_and_named_versions_stay_as_they_are() -> None:
    pinned = Versions(deployment(mode="pinned"))
    assert not any(assigned(pinned, ask(i, i % COUNT)) for i in range(200))
    versions = Versions(deployment(mode="canary", share=1.0))
    for adapter in (OTHER, -1):
        request = ask(0, adapter)
        versions.assign(request, 0.0)
        assert (request.adapter, request.output_tokens) == (adapter, 10)
    named = Request(0, 0.0, 0, 0, 4, 20, 10)  # a trace that asks for acme-0000@v2
    versions.assign(named, 0.0)
    assert named.adapter == 4
    assert versions.facts(1.0)[0].asked == 0


def test_answers_of_the_candidate_are_longer_as_far_as_the_context_reaches() -> None:
    of = deployment(mode="canary", share=1.0, candidate={"output_factor": 2.5})
    versions = Versions(of)
    for prompt, output, longer in ((20, 10, 25), (20, 1, 2), (1000, 20, 24), (1000, 500, 500)):
        request = Request(0, 0.0, 0, 0, 0, prompt, output)
        versions.assign(request, 0.0)
        assert request.output_tokens == longer, (prompt, output)  # the context holds 1,024


def test_a_shadow_is_a_copy_and_leaves_the_request_alone() -> None:
    versions = Versions(
        deployment(mode="shadow", share=0.2, end_s=10.0, candidate={"output_factor": 2.0})
    )
    copies = 0
    for index in range(5000):
        request = Request(index, 1.0, 1, 0, 1, 20, 10, 7_000 + index, 3, [1, 2])
        copy = versions.shadow_of(request, 1.0)
        versions.assign(request, 1.0)
        assert (request.adapter, request.output_tokens, request.shadow) == (1, 10, False)
        if copy is None:
            continue
        copies += 1
        assert copy.shadow
        assert (copy.index, copy.adapter, copy.output_tokens) == (-1 - index, 5, 20)
        for field in ("arrival_s", "tenant", "tier", "prompt_tokens", "session", "priority"):
            assert getattr(copy, field) == getattr(request, field)
        assert copy.prefix_hashes == [1, 2]
    assert copies == pytest.approx(1000, abs=120)
    assert versions.facts(1.0)[0].assigned == copies
    assert versions.shadow_of(ask(0, 1, 10.0), 10.0) is None


ROLLBACK = {"ttft_ratio": 1.5, "min_requests": 50, "window_s": 100.0}


def story(versions: Versions, slow_s: float, seconds: int = 400) -> None:
    """Ten requests a second, answered in 1 s by the stable version, in `slow_s` by the other."""
    for index in range(10 * seconds):
        request = ask(index, index % COUNT, index / 10)
        end(versions, request, slow_s if assigned(versions, request) else 1.0)


def test_a_slow_candidate_is_rolled_back_and_serves_nobody_from_then_on() -> None:
    versions = Versions(deployment(mode="canary", share=0.1, end_s=300.0, rollback=ROLLBACK))
    story(versions, slow_s=2.0)
    verdict = versions.facts(400.0)[0].rolled_back
    assert verdict is not None
    assert 50 <= verdict.at_s <= 70  # the 50 requests that it takes, at one a second
    assert (verdict.metric, verdict.percentile) == ("ttft_s", 99)
    assert verdict.stable_s == pytest.approx(1.0)
    assert verdict.candidate_s == pytest.approx(2.0)
    assert verdict.candidate_requests >= 50
    assert not any(assigned(versions, ask(i, i % COUNT, 350.0)) for i in range(1000))
    assert versions.facts(400.0)[0].promoted_at_s is None  # its end brings it back neither


def test_a_candidate_that_is_not_too_slow_is_promoted() -> None:
    versions = Versions(deployment(mode="canary", share=0.1, end_s=300.0, rollback=ROLLBACK))
    story(versions, slow_s=1.4)
    fact = versions.facts(400.0)[0]
    assert (fact.rolled_back, fact.promoted_at_s) == (None, 300.0)
    assert assigned(versions, ask(0, 0, 301.0))


def test_requests_that_are_on_their_way_keep_the_version_they_were_assigned() -> None:
    versions = Versions(deployment(mode="canary", share=0.5, rollback=ROLLBACK))
    under_way = [ask(10_000 + i, i % COUNT) for i in range(100)]
    given = [(assigned(versions, request), request.adapter) for request in under_way]
    story(versions, slow_s=5.0, seconds=60)
    assert versions.facts(60.0)[0].rolled_back is not None
    assert [request.adapter for request in under_way] == [adapter for _, adapter in given]
    assert any(candidate for candidate, _ in given)


def test_a_load_that_slows_down_both_versions_rolls_nothing_back() -> None:
    versions = Versions(deployment(mode="canary", share=0.3, rollback=ROLLBACK))
    for index in range(10_000):
        request = ask(index, index % COUNT, index / 10)
        assigned(versions, request)
        end(versions, request, 1.0 if index < 5000 else 20.0)
    assert versions.facts(1000.0)[0].rolled_back is None


def test_slow_requests_from_before_the_rollout_do_not_excuse_the_candidate() -> None:
    versions = Versions(
        deployment(mode="canary", share=0.5, start_s=100.0, rollback={**ROLLBACK, "window_s": 1e4})
    )
    for index in range(2000):
        now = index / 10
        request = ask(index, index % COUNT, now)
        candidate = assigned(versions, request)
        end(versions, request, 50.0 if now < 100 else 2.0 if candidate else 1.0)
    # A window is looked at ten times; of 10,000 s the second look comes after the end.
    assert versions.facts(200.0)[0].rolled_back is None
    late = ask(5000, 0, 1200.0)
    end(versions, late, 1.0)
    verdict = versions.facts(1200.0)[0].rolled_back
    assert verdict is not None
    assert verdict.stable_s == pytest.approx(1.0)


def test_failures_count_as_infinitely_late_and_rejections_not_at_all() -> None:
    for status, rolled_back in ((FAILED, True), (REJECTED, False)):
        versions = Versions(deployment(mode="canary", share=0.5, rollback=ROLLBACK))
        for index in range(1000):
            request = ask(index, index % COUNT, index / 10)
            broken = assigned(versions, request) and index % 20 == 0
            end(versions, request, 1.0, status=status if broken else COMPLETED)
        assert (versions.facts(100.0)[0].rolled_back is not None) == rolled_back


def test_a_candidate_may_be_given_up_for_its_tpot() -> None:
    rollback = {"ttft_ratio": None, "tpot_ratio": 1.2, "percentile": 50, "min_requests": 20}
    versions = Versions(deployment(mode="ab", share=0.5, rollback={**rollback, "window_s": 50.0}))
    for index in range(1000):
        request = ask(index, index % COUNT, index / 10, session=index)
        end(versions, request, 1.0, gap_s=0.15 if assigned(versions, request) else 0.1)
    verdict = versions.facts(100.0)[0].rolled_back
    assert verdict is not None
    assert (verdict.metric, verdict.percentile) == ("tpot_s", 50)
    assert verdict.candidate_s / verdict.stable_s == pytest.approx(1.5)


def test_a_candidate_may_be_given_up_for_answers_that_take_longer_to_be_complete() -> None:
    rollback = {"ttft_ratio": None, "e2e_ratio": 1.3, "min_requests": 20, "window_s": 50.0}
    of = deployment(mode="canary", share=0.5, rollback=rollback, candidate={"output_factor": 2.0})
    versions = Versions(of)
    for index in range(1000):
        request = ask(index, index % COUNT, index / 10)
        versions.assign(request, request.arrival_s)
        end(versions, request, 0.1)
    verdict = versions.facts(100.0)[0].rolled_back
    assert verdict is not None
    assert verdict.metric == "e2e_s"
    assert (verdict.stable_s, verdict.candidate_s) == (pytest.approx(1.0), pytest.approx(2.0))


def test_what_is_older_than_the_window_is_forgotten() -> None:
    comparison = Comparison(Rollback(min_requests=10, window_s=100.0))
    for index in range(20):
        comparison.add(True, float(index), 9.0, 0.1, 10.0)  # a bad start
        comparison.add(False, float(index), 1.0, 0.1, 2.0)
    for index in range(20):
        comparison.add(True, 150.0 + index, 1.0, 0.1, 2.0)
        comparison.add(False, 150.0 + index, 1.0, 0.1, 2.0)
    assert comparison.verdict(170.0) is None


def test_it_takes_enough_requests_of_both_versions() -> None:
    for stable, candidate, told in ((9, 50, False), (50, 9, False), (10, 10, True)):
        comparison = Comparison(Rollback(min_requests=10))
        for is_candidate, count in ((False, stable), (True, candidate)):
            for _ in range(count):
                comparison.add(is_candidate, 1.0, 5.0 if is_candidate else 1.0, 0.1, 9.0)
        assert (comparison.verdict(1.0) is not None) == told


def test_the_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 201)]
    assert [percentile(values, percent) for percent in (50, 90, 99)] == [100.0, 180.0, 198.0]
    assert percentile([3.0], 99) == 3.0


@pytest.mark.parametrize(
    ("candidate_model", "max_model_len", "longest"),
    [("long", None, 8192), (None, None, 4096), ("short", None, 512), ("long", 400, 400)],
)
def test_a_longer_answer_ends_where_the_context_of_the_candidates_own_pools_does(
    candidate_model: str | None, max_model_len: int | None, longest: int
) -> None:
    own = {"long": 8192, "short": 512, "tiny": 448}
    candidate = {"output_factor": 1000.0, "model": candidate_model}
    versions = Versions(
        expand(
            small_scenario(
                fleet=[{"gpu": "mini"}] + [{"gpu": "mini", "model": name} for name in own],
                catalog={
                    "gpus": {"mini": {"base": "a10g", "memory_gib": 64.0}},
                    "models": {
                        name: {"base": "tiny-llama", "max_position_embeddings": tokens}
                        for name, tokens in own.items()
                    },
                },
                engine={"max_model_len": max_model_len},
                tenants=[
                    {
                        "name": "acme",
                        "rollout": {"mode": "switch", "every_s": 1.0, "candidate": candidate},
                    }
                ],
            )
        )
    )
    request = ask(0, 0)
    versions.assign(request, 0.0)
    assert request.prompt_tokens + request.output_tokens == longest
