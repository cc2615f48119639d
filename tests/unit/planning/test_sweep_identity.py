"""The identity of a point: it changes with what results follow from, and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.planning import sweep_identity
from simlora.planning.sweep_identity import check_same, identity
from simlora.scenario.loading import load_scenario
from simlora.timing.profile import load_profile, profile_names
from tests.unit.planning.sweeping import scenario_file


def test_it_is_the_same_in_every_process_and_whether_defaults_are_written_or_not(
    tmp_path: Path,
) -> None:
    file = scenario_file(tmp_path)
    told = identity(load_scenario(file))
    assert told == identity(load_scenario(file, {"engine.max_num_seqs": 256}))
    program = (
        "from simlora.planning.sweep_identity import identity\n"
        "from simlora.scenario.loading import load_scenario\n"
        f"print(identity(load_scenario({str(file)!r})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == told, done.stderr


@pytest.mark.parametrize(
    "setting",
    [{"seed": 1}, {"engine.max_num_seqs": 255}, {"tiers.free.weight": 2}, {"name": "other"}],
)
def test_it_changes_with_every_field(tmp_path: Path, setting: dict[str, object]) -> None:
    file = scenario_file(tmp_path)
    assert identity(load_scenario(file)) != identity(load_scenario(file, setting))


def test_it_changes_with_simloras_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load_scenario(scenario_file(tmp_path))
    before = identity(scenario)
    monkeypatch.setattr(sweep_identity, "__version__", "99")
    assert identity(scenario) != before


def test_a_file_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    file = scenario_file(tmp_path)

    def with_trace(folder: str, content: bytes) -> str:
        trace = tmp_path / folder / "trace.parquet"
        trace.parent.mkdir(exist_ok=True)
        trace.write_bytes(content)
        empirical = {"empirical": str(trace)}
        return identity(load_scenario(file, {"workload.output_tokens": empirical}))

    first = with_trace("a", b"one")
    assert with_trace("b", b"one") == first
    assert with_trace("b", b"two, and longer") != first


def test_a_timing_profile_counts_by_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = scenario_file(tmp_path)
    names = ["roofline", "nearest", *profile_names()]
    scenarios = [load_scenario(file, {"timing.profile": name}) for name in names]
    before = [identity(scenario) for scenario in scenarios]
    assert len(set(before)) == len(names)

    shipped = load_profile(profile_names()[0])
    other = shipped.model_copy(update={"request_overhead_s": shipped.request_overhead_s + 1})
    monkeypatch.setattr(
        sweep_identity,
        "load_profile",
        lambda name: other if name == shipped.name else load_profile(name),
    )
    sweep_identity._timing.cache_clear()
    changed = {
        name
        for name, was, now in zip(names, before, map(identity, scenarios), strict=True)
        if was != now
    }
    sweep_identity._timing.cache_clear()
    assert changed == {"nearest", profile_names()[0]}


def test_a_policy_of_ones_own_counts_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "sweep_identity_policy.py"
    file = scenario_file(tmp_path)
    told = set()
    for source in ("class Mine: ...\n", "class Mine:\n    changed = True\n"):
        module.write_text(source)
        setting = {"gateway.routing": "sweep_identity_policy:Mine"}
        told.add(identity(load_scenario(file, setting)))
    assert len(told) == 2


def test_a_worker_that_would_run_something_else_says_so(tmp_path: Path) -> None:
    scenario = load_scenario(scenario_file(tmp_path))
    check_same(scenario, identity(scenario))
    with pytest.raises(UserError, match="another simlora, or other files"):
        check_same(scenario, "0" * 32)
