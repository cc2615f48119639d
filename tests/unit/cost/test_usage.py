"""What a run takes down of who used what, against what can be worked out by hand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from simlora.cost.usage import read_usage
from simlora.results.recorder import Recorder
from simlora.results.result import Result
from simlora.scenario.deployment import expand
from simlora.scenario.schema import Scenario
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler
from simlora.sim import simulate
from simlora.sim.facts import gather_facts
from simlora.sim.simulation import Simulation
from tests.simulating import Ask, run, small_scenario, traffic_of


def recorded(scenario: Scenario, asks: list[Ask], directory: Path) -> Result:
    """A run of these requests, with its files."""
    deployment = expand(scenario)
    recorder = Recorder(deployment, directory, warmup_s=0.0)
    simulation = Simulation(deployment, traffic_of(deployment, asks), recorder)
    simulation.run()
    recorder.flush()
    return recorder.close(gather_facts(deployment, simulation, 1.0, False))


def test_a_request_alone_has_all_of_the_time_and_two_alike_have_half_each(tmp_path: Path) -> None:
    scenario = small_scenario(tenants=[{"name": "tenant", "count": 3, "adapters": 0}])
    alone = Ask(0.0, prompt_tokens=100, output_tokens=50, tenant=0)
    pair = [Ask(100.0, prompt_tokens=80, output_tokens=40, tenant=tenant) for tenant in (1, 2)]
    result = recorded(scenario, [alone, *pair], tmp_path)
    gpu_s = result.tenants["gpu_s"]
    rows = result.requests.sort_values("request")
    assert gpu_s[0] == pytest.approx(rows["prefill_s"].iloc[0] + rows["decode_s"].iloc[0])
    assert gpu_s[1] == pytest.approx(gpu_s[2])
    busy_s = result.summary["batch"]["busy_s"]
    assert gpu_s.sum() == pytest.approx(busy_s, abs=1e-9)


def test_a_prompt_weighs_its_tokens_beside_a_decoding_request() -> None:
    """While the second's 99 tokens are computed, the first has one of a hundred."""
    scenario = small_scenario(tenants=[{"name": "tenant", "count": 2, "adapters": 0}])
    asks = [
        Ask(0.0, prompt_tokens=20, output_tokens=400, tenant=0),
        Ask(0.05, prompt_tokens=99, output_tokens=1, tenant=1),
    ]
    finished = run(scenario, asks)
    (log,) = finished.collector.steps
    log.drain()
    second: Request = finished.requests[1]
    assert second.prefill_s > 0
    assert log.batch_time.busy_s[1] == pytest.approx(0.99 * second.prefill_s, rel=1e-9)


def test_tokens_found_in_the_prefix_cache_are_not_computed_again(tmp_path: Path) -> None:
    scenario = small_scenario()
    hashes = tuple(range(1, 21))  # 320 tokens
    asks = [
        Ask(10.0 * turn, adapter=0, prompt_tokens=330, output_tokens=2, hashes=hashes)
        for turn in range(2)
    ]
    result = recorded(scenario, asks, tmp_path)
    cached = result.requests.sort_values("request")["cached_tokens"].tolist()
    assert cached == [0, 320]
    once = recorded(scenario, asks[:1], tmp_path / "once")
    ratio = result.tenants["input_tflop"][0] / once.tenants["input_tflop"][0]
    # The second computes the last ten tokens, which attend all.
    assert 1 + 10 / 330 < ratio < 1 + 2 * 10 / 330


def test_operations_and_memory_are_those_of_the_models_shapes(tmp_path: Path) -> None:
    scenario = small_scenario()
    ask = Ask(0.0, adapter=0, prompt_tokens=3, output_tokens=3)
    result = recorded(scenario, [ask], tmp_path)
    deployment, tenant = expand(scenario), result.tenants.iloc[0]
    model, adapter = deployment.model, deployment.adapters[0]
    token = 2 * (model.num_hidden_layers * model.layer_linear_parameters + adapter.parameters)
    attended = 4 * model.num_hidden_layers * model.q_dim
    head = 2 * model.vocab_size * model.hidden_size
    # Three prompt tokens attend 1, 2 and 3; the first output token comes with them, and the other
    # two attend 4 and 5.
    assert tenant["input_tflop"] * 1e12 == pytest.approx(3 * token + 6 * attended)
    assert tenant["output_tflop"] * 1e12 == pytest.approx(2 * token + 9 * attended + 3 * head)
    row = result.requests.iloc[0]
    kv_token_s = row["prefill_s"] * 3 / 2 + row["decode_s"] * (3 + 1)
    assert tenant["kv_gb_s"] * 1e9 == pytest.approx(kv_token_s * model.kv_bytes_per_token)
    stay_s = tenant["adapter_gb_s"] * 1e9 / adapter.nbytes
    assert stay_s == pytest.approx(row["prefill_s"] + row["decode_s"], rel=1e-6)
    assert tenant["cold_starts"] == 1


def test_an_adapter_is_counted_between_its_uses_but_not_while_it_is_away(tmp_path: Path) -> None:
    scenario = small_scenario(
        tenants=[{"name": "tenant", "count": 2}], adapters={"hot": {"max_adapters": 1}}
    )
    one, other = (lambda at, of=of: Ask(at, adapter=of, prompt_tokens=4) for of in (0, 1))
    kept = recorded(scenario, [one(0.0), one(10.0)], tmp_path / "kept")
    away = recorded(scenario, [one(0.0), other(5.0), one(10.0)], tmp_path / "away")
    adapter_gb = expand(scenario).adapters[0].nbytes / 1e9
    assert kept.tenants["adapter_gb_s"][0] / adapter_gb == pytest.approx(10.0, rel=0.01)
    assert away.tenants["adapter_gb_s"][0] / adapter_gb < 0.5
    assert away.tenants["cold_starts"].tolist() == [2, 1]


def test_time_is_booked_to_the_pool_where_it_was_spent_though_the_request_moves_on() -> None:
    """The first pool breaks down in the middle of an answer."""
    scenario = small_scenario(
        fleet=[{"gpu": "mini", "name": "a"}, {"gpu": "mini", "name": "b", "tensor_parallel": 2}],
        tenants=[{"name": "tenant"}],
        workload={"rate_rps": 50.0, "duration_s": 2, "output_tokens": {"fixed": 100}},
        gateway={"routing": "round_robin", "on_replica_loss": "retry"},
        events=[{"crash": 0, "at_s": 0.5, "duration_s": 1000}],
    )
    result = simulate(scenario)
    usage = read_usage(result)
    assert (result.requests["replica"] == 1).sum() > (result.requests["replica"] == 0).sum()
    assert 0.3 < usage["gpu_s"][0, 0] <= 0.5 + 1e-9  # up to the crash, and nothing after it
    assert usage["gpu_s"].sum() == pytest.approx(result.tenants["gpu_s"].sum())


@pytest.mark.parametrize(
    ("rate_rps", "step_tokens", "batching", "loading"),
    [
        (0.5, 16_384, "mixed", "overlap"),
        (0.5, 512, "mixed", "overlap"),
        (3.0, 8192, "mixed", "overlap"),
        (3.0, 512, "mixed", "blocking"),
        (3.0, 8192, "separate", "overlap"),
        (1.0, 512, "separate", "blocking"),
    ],
)
def test_shares_are_those_that_tokens_have_of_each_step(
    monkeypatch: pytest.MonkeyPatch, rate_rps: float, step_tokens: int, batching: str, loading: str
) -> None:
    """Told anew from every step and all that is in it: where prompts take one step each, where most
    are cut into chunks, where a long queue fills every step and cuts its last prompt, where
    decoding requests pause for prompts, and where steps stand still for loads, which are those of
    the tenants whose adapters come, each as long as it takes."""
    told_s: defaultdict[int, float] = defaultdict(float)
    loads_s: defaultdict[int, float] = defaultdict(float)
    complete = BatchScheduler.complete

    def watched(
        self: BatchScheduler, now: float, steps: int, step_s: float, load_s: float = 0.0
    ) -> None:
        pause = batching == "separate" and self.plan.chunks
        decoding = [one for one in self.running.values() if one.finish_step >= 0 and not pause]
        tokens = len(decoding) + sum(chunk for _, chunk in self.plan.chunks)
        for request, chunk in [*((one, 1) for one in decoding), *self.plan.chunks]:
            told_s[request.tenant] += (steps * step_s - load_s) * chunk / tokens
        assert sum(self.plan.blocking_s) == pytest.approx(load_s)
        for state, of_one_s in zip(self.plan.blocking_loads, self.plan.blocking_s, strict=True):
            loads_s[state.index] += of_one_s  # each tenant has one adapter
            told_s[state.index] += of_one_s
        complete(self, now, steps, step_s, load_s)

    monkeypatch.setattr(BatchScheduler, "complete", watched)
    result = simulate(
        small_scenario(
            model="llama-3.1-8b",
            tenants=[
                {"name": "small", "count": 5, "adapter": {"rank": 8}},
                {"name": "large", "count": 5, "adapter": {"rank": 64}},
            ],
            adapters={"hot": {"max_adapters": 4}},
            workload={
                "rate_rps": rate_rps,
                "duration_s": 200,
                "prompt_tokens": {"lognormal": {"mean": 1500, "sigma": 0.8, "max": 6000}},
                "output_tokens": {"fixed": 60},
            },
            engine={
                "max_model_len": 8192,
                "max_num_batched_tokens": step_tokens,
                "adapter_loading": loading,
                "scheduler": {"batching": batching},
            },
        )
    )
    assert bool(loads_s) == (loading == "blocking")
    tenants = range(10)
    for column, told in (("load_gpu_s", loads_s), ("gpu_s", told_s)):
        expected = [told[tenant] for tenant in tenants]
        assert list(result.tenants[column]) == pytest.approx(expected, rel=1e-9, abs=1e-9)
