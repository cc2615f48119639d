"""A trial of a fleet: ending it early changes no verdict, and the traffic decides the seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simlora import simulate
from simlora.errors import UserError
from simlora.planning.search.promises import promises_of, requests_by_tier
from simlora.planning.search.trial import most_broken, run_trial
from simlora.planning.search.trials import Count, Trials
from simlora.planning.search.workers import Workers
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from tests.unit.planning.planned import planned


def trials(scenario: Scenario, count: Count | None = None, replications: int = 2) -> Trials:
    return Trials(
        scenario,
        Workers(),
        count or Count(),
        confidence=0.95,
        replications=replications,
        tell=lambda _: None,
    )


@pytest.mark.parametrize("rate_rps", [2, 8, 12, 16, 25, 40])
@pytest.mark.parametrize("failing", [False, True])
def test_a_run_is_ended_early_only_if_it_would_miss_a_promise(
    rate_rps: float, failing: bool
) -> None:
    scenario = planned(workload__rate_rps=rate_rps, tiers__gold__sla__availability=0.98)
    if failing:
        scenario = scenario.with_overrides({"gateway.admission.max_queue": {"gold": 2}})
    promises = promises_of(expand(scenario))
    most = most_broken(promises, requests_by_tier(scenario, scenario.seed))
    whole = run_trial(scenario, scenario.seed, promises, None)
    stopped = run_trial(scenario, scenario.seed, promises, most)
    assert stopped.ok == whole.ok
    if stopped.broken is None:
        assert stopped == whole
    else:
        assert not whole.kept[stopped.broken].met
        assert stopped.requests <= whole.requests


def test_up_to_the_last_request_that_may_be_late_a_run_goes_on() -> None:
    scenario = planned(workload__rate_rps=12, workload__duration_s=60, tiers__free={})
    requests = simulate(scenario).requests
    ttft_s = np.sort(requests.loc[requests["tier"] == "gold", "ttft_s"])
    assert len(ttft_s) > 200  # so that its 1 % are several
    verdicts = []
    for late in range(1, 8):
        # So many are later. A p99 between the two is interpolated and may still be in time.
        bound_s = float(0.1 * ttft_s[-late - 1] + 0.9 * ttft_s[-late])
        promised = scenario.with_overrides({"tiers.gold.sla": {"ttft_p99_s": bound_s}})
        promises = promises_of(expand(promised))
        most = most_broken(promises, requests_by_tier(promised, promised.seed))
        whole = run_trial(promised, promised.seed, promises, None)
        stopped = run_trial(promised, promised.seed, promises, most)
        assert whole.kept[0].broken == late
        assert stopped.ok == whole.ok
        verdicts.append((stopped.ok, stopped.broken is not None))
    assert verdicts[0] == (True, False)  # kept to the end
    assert verdicts[-1] == (False, True)


def test_an_overloaded_fleet_is_given_up_long_before_the_end() -> None:
    scenario = planned(workload__rate_rps=60, workload__duration_s=60)
    promises = promises_of(expand(scenario))
    by_tier = requests_by_tier(scenario, scenario.seed)
    outcome = run_trial(scenario, scenario.seed, promises, most_broken(promises, by_tier))
    assert outcome.broken is not None
    assert outcome.requests < 0.3 * sum(by_tier)


def test_each_fleet_is_run_once_on_a_seed_and_counted() -> None:
    scenario, count = planned(workload__rate_rps=12), Count()
    tried = trials(scenario, count)
    for _ in range(2):
        assert tried.passes("the same", scenario.with_overrides({"fleet.0.replicas": 4}))
    assert count.runs == 1 + len(tried.seeds)
    seeds = (scenario.seed, *tried.seeds)
    assert count.requests == sum(sum(requests_by_tier(scenario, seed)) for seed in seeds)


def test_a_thin_tier_gets_as_many_seeds_as_it_takes_to_show_anything() -> None:
    scenario = planned(workload__rate_rps=8)
    seeds = trials(scenario).seeds
    assert len(seeds) > 2
    by_seed = [requests_by_tier(scenario, seed) for seed in seeds]
    assert min(map(sum, zip(*by_seed, strict=True))) >= 299
    assert min(map(sum, zip(*by_seed[:-1], strict=True))) < 299


def test_seeds_that_choose_a_fleet_have_no_part_in_confirming_it() -> None:
    tried = trials(planned(seed=5), replications=4)
    assert list(tried.seeds) == [6, 7, 8, 9]


def test_a_trace_is_run_once_and_has_to_be_long_enough(tmp_path: Path) -> None:
    def traced(requests: int) -> Scenario:
        path = tmp_path / f"{requests}.csv"
        rows = [f"{i / 20},gold-{i % 20:04d},500,100" for i in range(requests)]
        path.write_text("arrival_s,tenant,prompt_tokens,output_tokens\n" + "\n".join(rows))
        return planned(workload={"trace": str(path)}, fleet__0__replicas=6, tiers__free={})

    scenario, count = traced(400), Count()
    tried = trials(scenario, count)
    assert list(tried.seeds) == [scenario.seed]
    assert tried.passes("six", scenario)
    assert (count.runs, count.requests) == (1, 400)
    with pytest.raises(UserError, match=r"holds 100 requests of tier gold, but .* at least 299"):
        trials(traced(100))
    promising = traced(400).with_overrides({"tiers.free": {"sla": {"ttft_p99_s": 3.0}}})
    with pytest.raises(UserError, match="holds 0 requests of tier free, but"):
        trials(promising)
