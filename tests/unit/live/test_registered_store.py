"""Which version a scenario's adapter is, and that what is checked is what is loaded."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from simlora.cli.main import main
from simlora.errors import UserError
from simlora.live.adapter_store import RegisteredStore
from simlora.live.registered import look_up
from simlora.registry.hashes import file_sha256
from simlora.registry.record import RECORD
from simlora.registry.signing import new_keys
from simlora.registry.store import Registry
from simlora.scenario.deployment import Deployment, expand
from simlora.scenario.schema import Scenario
from tests.unit.live.registered_fleet import (
    FAULTS,
    PROMOTED,
    WEIGHTS,
    Fault,
    Fleet,
    not_a_number,
    tampered,
)

LATER = PROMOTED + timedelta(days=1)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def deployment_of(fleet: Fleet, adapters: int = 1) -> Deployment:
    return expand(fleet.scenario(adapters))


def store_of(
    fleet: Fleet, adapters: int = 1, today: Callable[[], date] | None = None
) -> RegisteredStore:
    directory = fleet.path / "run"
    directory.mkdir()
    more = {} if today is None else {"today": today}
    store = RegisteredStore(deployment_of(fleet, adapters), fleet.registry, directory, **more)
    store.prepare(range(adapters))
    return store


def version(fleet: Fleet) -> str:
    """The one that the only adapter of a scenario stands for."""
    return str(look_up(deployment_of(fleet), fleet.registry, [0])[0])


# --- which version --------------------------------------------------------------------------


def test_the_version_that_was_promoted_last_is_served(fleet: Fleet) -> None:
    fleet.add("tenant-0000", "v1", promoted_at=LATER)
    fleet.add("tenant-0000", "v2", promoted_at=PROMOTED)
    fleet.add("tenant-0000", "v3")
    assert version(fleet) == "tenant-0000@v1"


def test_the_only_version_needs_no_promotion(fleet: Fleet) -> None:
    fleet.add("tenant-0000", "v7")
    assert version(fleet) == "tenant-0000@v7"


@pytest.mark.parametrize("promoted_at", [None, PROMOTED])
def test_versions_of_which_none_is_the_last_are_named(fleet: Fleet, promoted_at: Any) -> None:
    for name in ("v1", "v2"):
        fleet.add("tenant-0000", name, promoted_at=promoted_at)
    with pytest.raises(UserError, match=r"versions v1, v2 of tenant-0000, which .* promote"):
        version(fleet)


def test_an_older_version_does_not_take_the_place_of_one_that_cannot_be_read(fleet: Fleet) -> None:
    fleet.add("tenant-0000", "v1", promoted_at=PROMOTED)
    (fleet.add("tenant-0000", "v2", promoted_at=LATER) / RECORD).write_text("{")
    assert version(fleet) == "tenant-0000@v2"


def test_the_only_tenant_of_a_group_may_go_by_the_groups_name(fleet: Fleet) -> None:
    fleet.add("tenant")
    assert version(fleet) == "tenant@v1"
    fleet.add("tenant-0000", "v2")
    assert version(fleet) == "tenant-0000@v2"


def several(fleet: Fleet, more: dict[str, Any] | None = None) -> Scenario:
    """One tenant with two adapters."""
    return fleet.scenario(1).with_overrides({"tenants.0.adapters": 2} | (more or {}))


def test_each_adapter_of_a_tenant_with_several_has_a_name_in_the_registry(fleet: Fleet) -> None:
    for number in (0, 1):
        fleet.add(f"tenant-0000-{number}", "v1", promoted_at=PROMOTED)
    fleet.add("tenant-0000-1", "v2")
    deployment = expand(several(fleet))
    assert [adapter.name for adapter in deployment.adapters] == ["tenant-0000/0", "tenant-0000/1"]
    found = look_up(deployment, fleet.registry, [0, 1])
    assert [str(found[n]) for n in (0, 1)] == ["tenant-0000-0@v1", "tenant-0000-1@v1"]
    rollout = {"mode": "canary", "start_s": 0, "end_s": 9, "candidate": {"name": "v2"}}
    tried = expand(several(fleet, {"tenants.0.rollout": rollout | {"share": 0.5}}))
    assert str(look_up(tried, fleet.registry, [3])[3]) == "tenant-0000-1@v2"
    with pytest.raises(UserError, match=r'tenant-0000/0@v2 .* no version "v2" of tenant-0000-0'):
        look_up(tried, fleet.registry, [2])


def test_no_two_adapters_are_the_same_one_of_the_registry(fleet: Fleet) -> None:
    """Else one tenant would be served what another's was trained on."""
    for number in (0, 1):
        fleet.add(f"tenant-0000-{number}")
    other = {"name": "tenant-0000-1", "count": 1, "adapter": {"rank": 4}}
    groups = [group.model_dump() for group in several(fleet).tenants]
    deployment = expand(fleet.scenario(1).with_overrides({"tenants": [*groups, other]}))
    with pytest.raises(UserError) as error:
        look_up(deployment, fleet.registry, [0, 1, 2])
    assert str(error.value) == (
        "tenants: tenant-0000/1 and tenant-0000-1-0000 are both tenant-0000-1 in the registry; "
        "rename one of their groups"
    )


def test_a_candidate_is_the_version_of_its_name(fleet: Fleet) -> None:
    fleet.add("tenant-0000", "v1", promoted_at=PROMOTED)
    fleet.add("tenant-0000", "v2", rank=2)
    rollout = {
        "mode": "canary",
        "share": 0.5,
        "start_s": 0,
        "end_s": 9,
        "candidate": {"name": "v2", "adapter": {"rank": 2}},
    }
    deployment = expand(fleet.scenario(1).with_overrides({"tenants.0.rollout": rollout}))
    found = look_up(deployment, fleet.registry, [0, 1])
    assert [str(found[index]) for index in (0, 1)] == ["tenant-0000@v1", "tenant-0000@v2"]
    shutil.rmtree(fleet.folder / "tenant-0000" / "v2")
    with pytest.raises(UserError, match='no version "v2" of tenant-0000'):
        look_up(deployment, fleet.registry, [0, 1])


# --- what is loaded -------------------------------------------------------------------------


def test_a_copy_has_the_bytes_of_the_record(fleet: Fleet) -> None:
    source = fleet.add("tenant-0000")
    store, folder = store_of(fleet), fleet.path / "copy"
    for _ in range(2):
        store.copy_to(0, folder)
        assert file_sha256(folder / WEIGHTS) == file_sha256(source / WEIGHTS)
    assert not list((fleet.path / "run").iterdir()), "nothing is left behind"


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not not_a_number])
def test_what_fails_its_check_is_alerted_and_leaves_the_copy_as_it_was(
    fleet: Fleet, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    source = fleet.add("tenant-0000")
    store, folder = store_of(fleet), fleet.path / "copy"
    store.copy_to(0, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fault(fleet, source)
    with caplog.at_level(logging.ERROR), pytest.raises(UserError) as error:
        store.copy_to(0, folder)
    assert "\n" not in str(error.value)
    assert "tenant-0000@v1 is refused" in caplog.text
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_file_that_is_changed_between_check_and_copy_is_not_loaded(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = fleet.add("tenant-0000")
    store, folder = store_of(fleet), fleet.path / "copy"
    copytree = shutil.copytree

    def change_and_copy(*arguments: Any, **options: Any) -> Any:
        tampered(fleet, source)
        return copytree(*arguments, **options)

    monkeypatch.setattr(shutil, "copytree", change_and_copy)
    with pytest.raises(UserError, match="file_sha256"):
        store.copy_to(0, folder)
    assert "tenant-0000@v1 is refused" in caplog.text
    assert not folder.exists()


def test_keys_in_the_registry_do_not_count_where_others_are_trusted(fleet: Fleet) -> None:
    fleet.add("tenant-0000")
    _, public = new_keys(fleet.path / "other", "audit")
    directory = fleet.path / "run"
    directory.mkdir()
    registry = Registry.open(fleet.folder, trusted=public.parent)
    store = RegisteredStore(deployment_of(fleet), registry, directory)
    store.prepare([0])
    with pytest.raises(UserError, match="ops"):
        store.copy_to(0, fleet.path / "copy")


def test_an_adapter_is_withdrawn_the_day_after_its_last_and_is_told_of_once(fleet: Fleet) -> None:
    last = date(2026, 6, 30)
    fleet.add("tenant-0000", retention_policy={"until": last})
    fleet.add("tenant-0001")
    today = [last]
    store = store_of(fleet, 2, lambda: today[0])
    for index in (0, 1):
        store.copy_to(index, fleet.path / f"copy-{index}")
    assert store.withdrawn() == []
    today[0] += timedelta(days=1)
    assert [store.withdrawn(), store.withdrawn()] == [[0], []]
    with pytest.raises(UserError, match="kept until 2026-06-30"):
        store.copy_to(0, fleet.path / "copy-0")


def test_only_what_has_been_handed_out_and_is_no_good_any_more_is_withdrawn(fleet: Fleet) -> None:
    sources = fleet.add_all(4)
    store = store_of(fleet, 4)
    for index in (0, 1, 2):
        store.copy_to(index, fleet.path / f"copy-{index}")
    (sources[1] / WEIGHTS).touch()  # another file by its times, and the same one by its bytes
    for index in (2, 3):
        tampered(fleet, sources[index])
    assert [store.withdrawn(), store.withdrawn()] == [[2], []]
    shutil.rmtree(sources[0])
    assert store.withdrawn() == [0]


# --- as a user has it -----------------------------------------------------------------------


class Shell:
    """`simlora live` with a scenario of two tenants."""

    def __init__(self, fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
        self.fleet = fleet
        self._capsys = capsys

    def live(self, scenario: Scenario, *more: object) -> tuple[int, str]:
        from simlora.scenario.loading import dump_resolved

        path = self.fleet.path / "scenario.yaml"
        path.write_text(dump_resolved(scenario, "for a test"))
        out = self.fleet.path / "out"
        command = ["live", str(path), "--device", "cpu", "--out", str(out), "--no-report"]
        code = main([*command, *map(str, more)])
        complaint = self._capsys.readouterr().err
        assert code == 0 or not any(out.glob("*")), "no results"
        return code, complaint

    def refused(self, scenario: Scenario, *more: object) -> str:
        """The one sentence of a command that comes to nothing."""
        code, complaint = self.live(scenario, *(more or ("--registry", self.fleet.folder)))
        lines = [line for line in complaint.splitlines() if not line.startswith("note: ")]
        assert (code, len(lines)) == (2, 1), complaint
        return lines[0]


@pytest.fixture
def shell(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(fleet, capsys)


def brief(fleet: Fleet, **changes: Any) -> Scenario:
    """Both tenants ask a few times within half a second."""
    workload = {
        "workload.duration_s": 0.5,
        "workload.rate_rps": 30,
        "workload.prompt_tokens": {"fixed": 8},
        "workload.output_tokens": {"fixed": 8},
    }
    return fleet.scenario(2).with_overrides(workload | changes)


def test_a_scenario_is_served_from_a_registry(shell: Shell) -> None:
    shell.fleet.add_all(2)
    code, complaint = shell.live(brief(shell.fleet), "--registry", shell.fleet.folder)
    assert code == 0, complaint
    assert "refused" not in complaint


def test_a_missing_adapter_is_told_with_those_there_are(shell: Shell) -> None:
    shell.fleet.add("tenant-0000")
    shell.fleet.add("tenant-001")
    told = shell.refused(brief(shell.fleet))
    assert 'no adapter "tenant-0001": did you mean' in told
    assert "tenant-001" in told and "tenants" in told


def test_another_rank_is_told_with_both(shell: Shell) -> None:
    shell.fleet.add_all(1)
    shell.fleet.add("tenant-0001", rank=8)
    told = shell.refused(brief(shell.fleet))
    assert "tenant-0001 has rank 4 in the scenario" in told
    assert "tenant-0001@v1 in the registry has rank 8" in told


def test_other_target_modules_are_told_with_both(shell: Shell) -> None:
    shell.fleet.add_all(1)
    shell.fleet.add("tenant-0001", modules=("q_proj", "v_proj"))
    told = shell.refused(brief(shell.fleet))
    assert "targets q_proj, k_proj" in told and "has q_proj, v_proj" in told


def test_a_model_of_the_catalog_has_no_adapters_in_a_registry(shell: Shell) -> None:
    shell.fleet.add_all(2)
    told = shell.refused(brief(shell.fleet, model="tiny-llama"))
    assert '"tiny-llama" is a model of the catalog' in told and "model.name" in told


def test_a_model_without_weights_has_none_either(shell: Shell) -> None:
    shell.fleet.add_all(2)
    (shell.fleet.model / "model.safetensors").unlink()
    assert "no base model without weights" in shell.refused(brief(shell.fleet))


def test_a_folder_that_is_not_there_is_told(shell: Shell) -> None:
    scenario, gone = brief(shell.fleet), shell.fleet.path / "gone"
    assert shell.refused(scenario, "--registry", gone) == f"error: {gone}: no such folder"
    shell.fleet.add_all(2)
    more = ("--registry", shell.fleet.folder, "--trusted", gone)
    assert shell.refused(scenario, *more) == f"error: {gone}: no such folder"


def test_options_that_mean_nothing_here_are_refused(shell: Shell) -> None:
    scenario, folder = brief(shell.fleet), shell.fleet.folder
    assert "--trusted: needs --registry" in shell.refused(scenario, "--trusted", folder)
    openai = ("--engine", "openai", "--url", "http://127.0.0.1:9/v1", "--registry", folder)
    assert "--engine embedded only" in shell.refused(scenario, *openai)


def test_a_registry_needs_no_more_than_the_adapters_that_are_asked_for(shell: Shell) -> None:
    """The second tenant's is missing, and never asked for."""
    shell.fleet.add("tenant-0000")
    scenario = brief(shell.fleet, **{"workload.popularity": {"zipf": 40.0}})
    registry = Registry.open(shell.fleet.folder)
    assert [entry.adapter_id for entry in registry.entries()] == ["tenant-0000"]
    code, complaint = shell.live(scenario, "--registry", shell.fleet.folder)
    assert code == 0, complaint
