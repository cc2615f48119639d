"""Which versions of a registry's adapters a scenario means, and whether they are as it says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from simlora.errors import UserError
from simlora.registry.record import Record
from simlora.registry.store import Entry, Registry
from simlora.scenario.catalog import is_config_path
from simlora.scenario.catalog.specs import TARGET_SETS
from simlora.scenario.deployment import Adapter, Deployment
from simlora.scenario.problems import given


def look_up(deployment: Deployment, registry: Registry, indexes: Iterable[int]) -> dict[int, Entry]:
    """The versions that these adapters of a scenario stand for, by index: of the adapter's name the
    one that was promoted last, or the only one; of a rollout's candidate the one of its name. The
    registry knows those of a tenant that has several, such as acme-0000/1, as acme-0000-1.

    Raises UserError, of one sentence, if there is none or no telling which, if two adapters would
    be the same one, if a record has another rank or other target modules than memory is planned
    for, and if the base model is one of the catalog. Whether the files are what the record tells is
    for each load to find out.
    """
    base_folder(deployment)
    names: dict[int, list[str]] = {}
    for name, index in deployment.adapter_index.items():
        names.setdefault(index, []).append(_registry_name(name))
    versions: dict[str, list[Entry]] = {}
    for entry in registry.entries():
        versions.setdefault(entry.adapter_id, []).append(entry)
    found: dict[int, Entry] = {}
    users: dict[str, str] = {}  # adapters of the scenario by the registry's name
    for index in sorted(indexes):
        adapter = deployment.adapters[index]
        stable, _, version = adapter.name.partition("@")
        # The only tenant of a group goes by the group's name, too.
        alike = names[deployment.adapter_index[stable]]
        adapter_id = next((name for name in alike if name in versions), alike[0])
        if (user := users.setdefault(adapter_id, stable)) != stable:
            raise UserError(
                f"tenants: {user} and {stable} are both {adapter_id} in the registry; rename one "
                "of their groups"
            )
        known = versions.get(adapter_id, [])
        try:
            if version or not known:
                known = registry.entries(adapter_id, version or None)
            entry = found[index] = _newest(known)
        except UserError as error:
            raise UserError(
                f"tenants: {adapter.name} in the registry {registry.path}: {error}"
            ) from None
        if (record := _record(entry)) is not None:
            _check_shape(deployment, adapter, entry, record)
    return found


def _registry_name(name: str) -> str:
    """What the registry calls an adapter: its names are those of folders."""
    return name.replace("/", "-")


def _newest(entries: list[Entry]) -> Entry:
    """The version that was promoted last, or the only one. Raises UserError if neither is there."""
    if len(entries) == 1:
        return entries[0]
    moments = {}
    for entry in entries:
        if (record := _record(entry)) is None:
            return entry  # this may be the one, and its load will tell what is wrong with it
        if record.promoted_at is not None:
            moments[entry.version] = record.promoted_at
    newest = max(moments.values(), default=None)
    last = [each for each in entries if moments and moments.get(each.version) == newest]
    if len(last) == 1:
        return last[0]
    versions = ", ".join(entry.version for entry in last or entries)
    why = "were promoted at the same time" if last else "have no promoted_at"
    raise UserError(
        f"versions {versions} of {entries[0].adapter_id}, which {why}; promote the one to be served"
    )


def _record(entry: Entry) -> Record | None:
    """The record, None if it cannot be read."""
    try:
        return entry.record
    except UserError:
        return None


def base_folder(deployment: Deployment) -> Path:
    """The folder of the base model. Raises UserError if it is one of the catalog."""
    folder = model_folder(deployment)
    if folder is None:
        raise UserError(
            f"model.name: {given(_model_name(deployment, 0))} is a model of the catalog, which has "
            "random weights here; adapters of a registry need the folder of the model that they "
            "were trained for"
        )
    return folder


def model_folder(deployment: Deployment, pool_index: int = 0) -> Path | None:
    """The folder of a pool's model, None if it is one of the catalog."""
    name = _model_name(deployment, pool_index)
    if not is_config_path(name) or name in deployment.scenario.catalog.models:
        return None
    path = Path(name)
    return path.parent if path.is_file() else path


def _model_name(deployment: Deployment, pool_index: int) -> str:
    scenario = deployment.scenario
    return (scenario.fleet[pool_index].model or scenario.model).name


def _check_shape(deployment: Deployment, adapter: Adapter, entry: Entry, record: Record) -> None:
    """Raises UserError unless a record has the rank and modules that memory is planned for."""
    if record.rank != adapter.rank:
        raise UserError(
            f"tenants: {adapter.name} has rank {adapter.rank} in the scenario, but {entry} in the "
            f"registry has rank {record.rank}"
        )
    modules = modules_of(deployment, adapter)
    if set(record.target_modules) != set(modules):
        raise UserError(
            f"tenants: {adapter.name} has the targets {', '.join(modules)} in the scenario, but "
            f"{entry} in the registry has {', '.join(record.target_modules)}"
        )


def modules_of(deployment: Deployment, adapter: Adapter) -> tuple[str, ...]:
    """The linear modules that a scenario's adapter changes."""
    group = deployment.scenario.tenants[deployment.tenants[adapter.tenant].group]
    shape = group.adapter
    if adapter.index in deployment.candidates.values() and group.rollout is not None:
        shape = group.rollout.candidate.adapter or shape
    targets = shape.targets
    return tuple(TARGET_SETS[targets] if isinstance(targets, str) else targets)
