"""Which timing profile a published run is predicted with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from simlora.errors import UserError
from simlora.timing.profile import Profile, load_profile, profile_names
from simlora.validation.recipe import GPU, MODELS
from simlora.validation.rows import BscRun


def scaling_warnings(profiles: Iterable[str]) -> list[str]:
    """A sentence for each profile, by name or path, that was not measured on what the runs of the
    recipe are on, one GPU with weights in bf16."""
    warnings = []
    for name in profiles:
        profile = load_profile(name)
        if (profile.gpu, profile.weights, profile.tensor_parallel) != (GPU, "bf16", 1):
            warnings.append(scaling_warning(name, profile, GPU))
    return warnings


def scaling_warning(name: str, profile: Profile, gpus: str) -> str:
    """That the runs are not on what the profile is of."""
    return (
        f"--profile {name} was measured on {profile.measured_on}, but the runs on {gpus}: "
        "its times are scaled by the roofline"
    )


def profiles_for(runs: Iterable[BscRun], asked: Sequence[str] = ()) -> dict[str, str]:
    """The profile of each model in `runs`: of those `asked` for (names or paths), or else the
    shipped one of this model on this GPU. Models without one are left out.

    Raises:
        UserError: a profile that does not exist or is broken, or is of a model that no run has.
    """
    wanted = {MODELS[run.model] for run in runs if run.model in MODELS}
    found: dict[str, str] = {}
    for name in asked:
        model = load_profile(name).model
        if model not in wanted:
            served = ", ".join(sorted(wanted))
            raise UserError(f"--profile {name}: is of {model}, but the runs are of {served}")
        if model in found:
            raise UserError(f"--profile {name}: {model} has a profile already, {found[model]}")
        found[model] = name
    if asked:
        return found
    for name in profile_names():
        profile = load_profile(name)
        if profile.gpu == GPU and profile.model in wanted:
            found.setdefault(profile.model, name)
    return found
