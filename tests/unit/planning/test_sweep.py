"""Sweeps: rows, failures, growing grids, what a directory holds, and who killed the worker."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from simlora import simulate
from simlora.errors import UserError
from simlora.planning.sweep import MOST_DEATHS, merge, run_sweep
from simlora.planning.sweep_best import (
    Bound,
    best_points,
    check_figures,
    check_tiers,
    parse_bound,
)
from simlora.planning.sweep_executors import Kind, open_executor
from simlora.planning.sweep_grid import plan_sweep
from simlora.planning.sweep_store import Store
from simlora.planning.sweep_work import Record, flatten
from simlora.scenario.loading import load_scenario
from tests.unit.planning.sweeping import (
    Here,
    assert_same_results,
    finished,
    scenario_file,
    sweep_here,
    table,
)

RATES = "workload.rate_rps=5,10"


def test_a_row_holds_its_settings_its_provenance_and_every_figure_of_the_summary(
    tmp_path: Path,
) -> None:
    grid = ["adapters.hot.max_adapters=4,16", "workload.output_tokens={fixed: 9},sharegpt"]
    _, rows = sweep_here(tmp_path, *grid, replications=2)
    row = rows.iloc[3]
    settings = {"adapters.hot.max_adapters": 4, "workload.output_tokens": "sharegpt", "seed": 1}
    summary = simulate(load_scenario(scenario_file(tmp_path), settings)).summary
    for key, value in flatten(summary).items():
        assert row[key] == value or (value is None and row[key] != row[key]), key
    assert {"latency.ttft_s.p99", "tiers.gold.sla_attainment", "throughput.requests_per_s"} < set(
        flatten(summary)
    )
    assert (row["point"], row["replication"], row["seed"], row["status"]) == (1, 1, 1, "ok")
    assert row["provenance.timing_hash"] == summary["simulation"]["timing"]["hash"]
    assert row["wall_s"] > 0
    schema = pq.read_schema(tmp_path / "out" / "sweep.parquet")
    assert str(schema.field("adapters.hot.max_adapters").type) == "int64"
    assert str(schema.field("error").type) == "string"
    assert list(rows["workload.output_tokens"][:4]) == ['{"fixed": 9}'] * 2 + ['"sharegpt"'] * 2


def test_a_failed_point_is_a_row_with_its_error_and_all_others_run(tmp_path: Path) -> None:
    grid = ["model=tiny-llama,llama-3.1-405b", RATES]
    ended, rows = sweep_here(tmp_path, *grid)
    assert (ended.ran, ended.failed) == (4, 2)
    failed = rows[rows["status"] == "failed"]
    assert list(failed["model"]) == ["llama-3.1-405b"] * 2
    assert failed["error"].str.contains("405b").all()
    assert failed["provenance.hash"].notna().all()
    assert failed["latency.ttft_s.p99"].isna().all()
    assert rows.loc[rows["status"] == "ok", "latency.ttft_s.p99"].notna().all()
    ended, again = sweep_here(tmp_path, *grid, resume=True)
    assert (ended.ran, ended.reused) == (0, 4)
    assert_same_results(again, rows)


def test_settings_that_make_no_scenario_are_failed_rows(tmp_path: Path) -> None:
    ended, rows = sweep_here(tmp_path, "workload.duration_s=10,100", "run.warmup_s=0,50")
    assert (ended.ran, ended.unmade, ended.failed) == (3, 1, 1)
    failed = rows[rows["status"] == "failed"]
    assert failed[["workload.duration_s", "run.warmup_s"]].to_numpy().tolist() == [[10, 50]]
    assert failed["provenance.hash"].isna().all()


def test_a_grown_grid_runs_only_what_is_new_and_needs_resume(tmp_path: Path) -> None:
    assert sweep_here(tmp_path, RATES)[0].ran == 2
    kept = finished(tmp_path)
    with pytest.raises(UserError, match="has 2 points of a sweep already: add --resume"):
        sweep_here(tmp_path, RATES)

    # 16 is what the scenario has: those two points are known by their content.
    grown = ("workload.rate_rps=5,10,20", "adapters.hot.max_adapters=16,4")
    ended, rows = sweep_here(tmp_path, *grown, resume=True)
    assert (ended.reused, ended.ran, len(rows)) == (2, 4, 6)
    assert kept.items() <= finished(tmp_path).items()
    assert list(rows["adapters.hot.max_adapters"]) == [16, 4] * 3
    assert_same_results(rows, sweep_here(tmp_path, *grown, out="fresh")[1])


def test_the_same_run_under_two_settings_is_run_once_and_has_two_rows(tmp_path: Path) -> None:
    ended, rows = sweep_here(tmp_path, "workload.rate_rps=10,10.0")
    assert (ended.ran, ended.reused) == (1, 1)
    assert len(rows) == 2
    assert rows["provenance.hash"].nunique() == 1


def test_merging_writes_the_rows_that_there_are(tmp_path: Path) -> None:
    plan = plan_sweep(scenario_file(tmp_path), ["workload.rate_rps=5,10,20"])
    store = Store(tmp_path / "out")
    with pytest.raises(UserError, match="holds no finished point"):
        merge(plan, store)
    sweep_here(tmp_path, "workload.rate_rps=5,20")
    merge(plan, store)
    assert list(table(tmp_path)["workload.rate_rps"]) == [5, 20]


def test_a_point_that_the_machine_failed_is_run_again_and_one_that_failed_by_itself_is_not(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    with store.writing(resume=False):
        store.write("a" * 32, Record("failed", "no such field"))
        store.write("b" * 32, Record("failed", "its worker died", lasting=False))
        assert store.finished() == {"a" * 32}
        assert store.read("b" * 32) == Record("failed", "its worker died", lasting=False)
        store.write("b" * 32, Record("ok", figures={"x": 1.5}))
        assert store.finished() == {"a" * 32, "b" * 32}
        assert store.read("b" * 32) == Record("ok", figures={"x": 1.5})
    assert len(finished(tmp_path, ".")) == 2


def test_what_a_kill_left_half_written_is_no_point_and_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.writing(resume=False):
        pass
    left = tmp_path / "points" / ".unfinished-abc"
    left.write_text('{"status": "o')
    assert store.finished() == set()
    with store.writing(resume=False):
        assert not left.exists()


def test_a_directory_is_one_sweeps_at_a_time(tmp_path: Path) -> None:
    with (
        Store(tmp_path).writing(resume=True),
        pytest.raises(UserError, match="another sweep is writing there"),
        Store(tmp_path).writing(resume=True),
    ):
        pass
    with Store(tmp_path).writing(resume=True):
        pass


def test_a_damaged_record_is_told_and_not_taken(tmp_path: Path) -> None:
    sweep_here(tmp_path, RATES)
    file = next((tmp_path / "out" / "points").glob("*.json"))
    file.write_text(json.dumps({"status": "ok", "other": 1}))
    with pytest.raises(UserError, match=f"{file.name}: is not what a sweep wrote; remove it"):
        sweep_here(tmp_path, RATES, resume=True)


@pytest.mark.parametrize(("kind", "package"), [("local", "loky"), ("dask", "dask")])
def test_a_missing_package_is_one_sentence_with_how_to_install_it(
    kind: Kind, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    told = f"--executor: {kind} needs the package {package}; pip install 'simlora[cluster]'"
    with pytest.raises(UserError, match=re.escape(told)), open_executor(kind, 1):
        pass


class Died(Exception):
    pass


class Fragile(Here):
    """A pool of several workers, all of which are lost when one of `poison` (by rate) is begun."""

    deaths: tuple[type[BaseException], ...] = (Died,)

    def __init__(self, poison: set[float]) -> None:
        self.poison = poison
        self.pool: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.killed: list[float] = []

    def slots(self) -> int:
        if self.pool:
            self._work()
        return 3

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.pool.append((future, work, arguments))
        return future

    def _work(self) -> None:
        pool, self.pool = self.pool, []
        rates = [arguments[0].workload.rate_rps for _, _, arguments in pool]
        killers = [rate for rate in rates if rate in self.poison]
        self.killed += killers[:1]
        for future, work, arguments in pool:
            if killers:
                future.set_exception(Died())
            else:
                future.set_result(work(*arguments))


def test_only_the_point_that_kills_is_blamed_whoever_else_was_in_its_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simlora.planning.sweep._LOOK_S", 0.0)
    plan = plan_sweep(scenario_file(tmp_path), ["workload.rate_rps=1,2,3,4,5,6,7"])
    store, executor = Store(tmp_path / "out"), Fragile({2.0, 6.0})
    with store.writing(resume=False):
        ended = run_sweep(plan, store, executor)
    rows = table(tmp_path).set_index("workload.rate_rps")
    assert set(rows.index[rows["status"] == "failed"]) == {2, 6}
    assert rows.loc[[2, 6], "error"].str.contains(f"died {MOST_DEATHS} times").all()
    assert (ended.ran, ended.failed) == (7, 2)
    assert sorted(executor.killed) == [2.0] * MOST_DEATHS + [6.0] * MOST_DEATHS


def test_the_best_point_keeps_to_the_bounds_on_average_over_replications(tmp_path: Path) -> None:
    keys = ["adapters.hot.max_adapters"]
    _, rows = sweep_here(tmp_path, "adapters.hot.max_adapters=1,4,16", replications=2)
    hits = rows.groupby("adapters.hot.max_adapters")["adapters.hit_ratio"].mean()
    assert hits[1] < hits[4] < hits[16]
    highest, lowest = best_points(rows, keys, ["adapters.hit_ratio:max", "adapters.hit_ratio"])
    assert (highest.settings, highest.value) == ({keys[0]: 16}, hits[16])
    assert (lowest.settings, lowest.value) == ({keys[0]: 1}, hits[1])

    bounds = [Bound("adapters.hit_ratio", ">", hits[1]), Bound("adapters.hit_ratio", "<", hits[16])]
    (between,) = best_points(rows, keys, ["adapters.loads"], bounds)
    assert between.settings == {keys[0]: 4}
    (none,) = best_points(rows, keys, ["adapters.loads"], [parse_bound("adapters.hit_ratio>=2")])
    assert none.value is None

    rows.loc[rows["adapters.hot.max_adapters"].eq(16) & rows["seed"].eq(0), "status"] = "failed"
    (whole,) = best_points(rows, keys, ["adapters.hit_ratio:max"])
    assert whole.settings == {keys[0]: 4}
    with pytest.raises(UserError, match=r'no figure "adapters\.hits_ratio": did you mean'):
        best_points(rows, keys, ["adapters.hits_ratio"])


@pytest.mark.parametrize("text", ["a", "a>=", "a>=b", ">=1", "a=1", "a>=nan", "a<inf"])
def test_a_bound_that_cannot_be_read_is_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"^--where takes figure>=value"):
        parse_bound(text)


def test_a_figure_that_there_is_not_is_told_after_the_first_point(tmp_path: Path) -> None:
    plan = plan_sweep(scenario_file(tmp_path), ["workload.rate_rps=5,10,20"])
    store = Store(tmp_path / "out")

    def look(row: dict[str, Any]) -> None:
        check_figures(["latency.ttft_s.p98"], row, plan.tier_names())

    for reused in (False, True):
        with (
            store.writing(resume=reused),
            pytest.raises(UserError, match=r'no figure "latency\.ttft_s\.p98": did you mean'),
        ):
            run_sweep(plan, store, Here(), None, look)
        assert len(finished(tmp_path)) == 1


def test_a_figure_that_the_first_point_has_not_but_another_may_have_is_let_pass() -> None:
    row = {"seed": 0, "wall_s": 1.5, "latency.ttft_s.p99": None, "autoscaling": None}
    figures = ["wall_s", "latency.ttft_s.p99", "autoscaling.replicas", "tiers.gold.sla_attainment"]
    check_figures(figures, row, ["gold"])
    with pytest.raises(UserError, match="no figure"):
        check_figures(["status"], {"status": "ok", "seed": 0}, ["gold"])


def test_of_a_tier_that_the_first_point_has_only_promises_may_be_elsewhere() -> None:
    row = {"tiers.gold.ttft_s.p99": 0.5, "tiers.gold.sla_attainment": None}
    names = ["gold", "gold.eu"]
    check_figures(["tiers.gold.sla.ttft_p99_s.measured", "tiers.gold.eu.ttft_s.p99"], row, names)
    for wrong in ("tiers.gold.ttft.p99", "tiers.gold"):
        with pytest.raises(UserError, match=f'no figure "{wrong}": did you mean'):
            check_figures([wrong], row, names)


def test_the_tiers_of_a_sweep_are_those_of_all_its_points(tmp_path: Path) -> None:
    listed = tmp_path / "points.yaml"
    (tmp_path / "other.yaml").write_text(
        "name: other\nmodel: tiny-llama\nfleet: [{gpu: l40s}]\nworkload: {rate_rps: 5}\n"
        "tenants: [{name: lone, tier: silver}]\n"
    )
    listed.write_text("- other.yaml\n- {tiers: {gold: {}, bronze: {}}, tenants.1.tier: bronze}\n")
    plan = plan_sweep(scenario_file(tmp_path), ["workload.rate_rps=5,10"], listed)
    assert plan.tier_names() == ["silver", "gold", "bronze"]
    check_tiers(["tiers.bronze.ttft_s.p99", "latency.ttft_s.p99"], plan.tier_names())
    with pytest.raises(UserError, match=r'for no tier "sliver": did you mean silver\?'):
        check_tiers(["tiers.sliver.ttft_s.p99"], plan.tier_names())


def test_a_tier_is_found_also_where_what_names_it_needs_another_axis(tmp_path: Path) -> None:
    """Pinning a tier that only this axis brings is a mistake without it."""
    (tmp_path / "small.yaml").write_text(
        scenario_file(tmp_path).read_text().replace("{hot: {", "{hot: {pinned_tiers: [gold], ")
    )
    grid = ["tenants.0.tier=vip", "tiers={vip: {}, free: {}}", "adapters.hot.pinned_tiers=[vip]"]
    assert "vip" in plan_sweep(scenario_file(tmp_path), grid).tier_names()


def test_a_point_whose_replications_are_not_all_there_is_not_the_best(tmp_path: Path) -> None:
    grid = ["adapters.hot.max_adapters=1,16"]
    _, rows = sweep_here(tmp_path, *grid, replications=2)
    plan = plan_sweep(scenario_file(tmp_path), grid, replications=2)
    part = rows[~(rows["point"].eq(1) & rows["replication"].eq(1))]
    asked = ["adapters.hit_ratio:max"]
    (whole,) = best_points(rows, plan.keys, asked, runs_of=plan.runs_of)
    (left,) = best_points(part, plan.keys, asked, runs_of=plan.runs_of)
    assert (whole.settings, left.settings) == ({plan.keys[0]: 16}, {plan.keys[0]: 1})
