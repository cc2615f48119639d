"""Uploaded measurements beside what is predicted of them: the task of a worker."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from simlora.calibration.calibrate import Calibration
from simlora.calibration.formats import KV_CAPACITY, LOADS
from simlora.dashboard.fidelity_figures import Fidelity, figures_of, fitted_of
from simlora.dashboard.fidelity_files import Measurements, read_measurements
from simlora.dashboard.fidelity_fit import NAME, PASSES, FitRequest, fit_profile, split, to_fit
from simlora.dashboard.fidelity_predict import (
    Judged,
    judge_published,
    judge_run,
    judge_slora,
    judge_tables,
)
from simlora.dashboard.fidelity_words import plain
from simlora.dashboard.limits import MOST_REQUESTS
from simlora.dashboard.tasks import Progress
from simlora.errors import UserError
from simlora.report.words import counted
from simlora.timing.profile import Profile, load_profile
from simlora.validation.profiles import profiles_for, scaling_warnings
from simlora.validation.recipe import MODELS
from simlora.validation.runner import Settings
from simlora.validation.slora import PROFILES

if TYPE_CHECKING:
    from simlora.calibration.tables import Selection

MOST_RUNS = 100  # that are simulated
BUDGET_S = 240.0  # after which predicting ends with what there is
_FIT_SHARE = 0.75  # of the progress bar


@dataclass(frozen=True, slots=True)
class Choice:
    """What to predict with: a `profile` by its name, or that of an uploaded file (`own`), or one
    to be fitted (`fit`); none of them: what the recipe or the scenario says. At most `most` runs
    are simulated; `seed` draws those, and their traffic."""

    profile: str | None = None
    own: bool = False
    fit: FitRequest | None = None
    most: int = 30
    seed: int = 0


def judge_upload(
    scratch: Path,
    progress: Progress,
    names: tuple[str, ...],
    selection: Selection,
    choice: Choice,
) -> Fidelity:
    """Predict what was measured in the files `names` of `scratch`.

    Raises UserError, one sentence, for whatever is wrong with them.
    """
    ends_s = time.monotonic() + BUDGET_S
    progress(0.0, "reading")
    try:
        found = read_measurements(scratch, names, selection)
    except UserError as error:
        raise UserError(plain(str(error))) from None
    notes = list(found.notes)
    profile = choice.profile
    if choice.own and profile is not None:
        profile = str(scratch / profile)
    profiles = _profiles(found, profile, choice.fit, notes)
    found = _thinned(found, choice.most, choice.seed, notes)
    fitted, began = None, 0.0
    with TemporaryDirectory(dir=scratch, prefix="fit-") as working:
        if choice.fit is not None:
            fit, found = split(found, choice.fit, choice.seed)
            result = _fit(scratch, Path(working), names, fit, choice.fit, progress, ends_s)
            path = Path(working) / f"{NAME}.json"
            path.write_text(result.profile.model_dump_json(indent=2), encoding="utf-8")
            profile, began = str(path), _FIT_SHARE
            profiles = {choice.fit.model: profile}
            fitted = fitted_of(result)
        source, known, count, work = _work(found, profile, profiles, choice.seed, notes)
        judged = list(_until(ends_s, work, count, began, progress))
    if len(judged) < count:
        notes.append(
            f"After {BUDGET_S:.0f} s the rest was left: {len(judged)} of {count} were predicted"
        )
    if not judged:
        raise UserError("there is nothing in these files that the profile says anything of")
    return figures_of(judged, source, known, notes, fitted)


def _profiles(
    found: Measurements, profile: str | None, fit: FitRequest | None, notes: list[str]
) -> dict[str, str]:
    """The profile of each model of published runs; runs of other models are dropped, and so is
    what a profile says nothing of."""
    capacities = [table for table in found.tables if table.format is KV_CAPACITY]
    if capacities:
        found.tables = [table for table in found.tables if table.format is not KV_CAPACITY]
        left_out = (
            "KV capacities are left out: a profile holds no memory (simlora calibrate checks them)"
        )
        if not found.tables and not found.runs:
            raise UserError(left_out)
        notes.append(left_out)
    if found.kind == "s-lora" and fit is not None:
        raise UserError("no profile is fitted to runs of S-LoRA: choose one")
    if found.kind != "published":
        return {}
    count = len(found.published)
    if fit is not None:
        found.published = to_fit(found.published, fit.model)
        return {}
    try:
        profiles = profiles_for(found.published, () if profile is None else (profile,))
        notes += [plain(note) for note in scaling_warnings(profiles.values())]
    except UserError as error:
        raise UserError(plain(str(error))) from None
    found.published = [run for run in found.published if MODELS.get(run.model, "") in profiles]
    if not found.published:
        raise UserError("no profile is of a model that these runs have: choose another one")
    if count > len(found.published):
        dropped = counted(count - len(found.published), "run")
        notes.append(f"For want of a profile of their models, {dropped} are left out")
    return profiles


def _thinned(found: Measurements, most: int, seed: int, notes: list[str]) -> Measurements:
    """At most `most` of the runs of each kind, in their order; rows of tables need no simulation
    and are all kept."""

    def drawn(count: int) -> list[int]:
        if count > most:
            notes.append(f"{most:,} of {count:,} runs were drawn by seed {seed}")
        return sorted(random.Random(seed).sample(range(count), min(most, count)))

    return replace(
        found,
        published=[found.published[index] for index in drawn(len(found.published))],
        slora=[found.slora[index] for index in drawn(len(found.slora))],
        runs=[found.runs[index] for index in drawn(len(found.runs))],
    )


def _fit(
    scratch: Path,
    working: Path,
    names: Sequence[str],
    fit: Measurements,
    request: FitRequest,
    progress: Progress,
    ends_s: float,
) -> Calibration:
    rounds = 0

    def told(what: str, done: int, total: int) -> None:
        nonlocal rounds
        rounds += done == 0
        if time.monotonic() > ends_s:
            raise UserError(
                f"the fit takes longer than {BUDGET_S:.0f} s: let fewer runs be taken, or use "
                "simlora calibrate and upload the profile that it writes"
            )
        share = min((rounds - 1 + done / max(total, 1)) / (PASSES + 1), 1.0)
        progress(_FIT_SHARE * share, f"fitting, {what}: {done} of {total}")

    progress(0.0, "fitting")
    return fit_profile(scratch, working, names, fit, request, told)


def _work(
    found: Measurements,
    profile: str | None,
    profiles: dict[str, str],
    seed: int,
    notes: list[str],
) -> tuple[str, dict[str, Profile], int, Iterator[Judged]]:
    """What is predicted by which profiles, how much it is, and the predictions to come."""
    if found.kind == "published":
        runs = found.published
        settings = Settings(profiles, seed)
        known = {name: load_profile(name) for name in profiles.values()}
        work: Iterator[Judged] = (judge_published(run, settings) for run in runs)
        return "Published runs of vLLM", known, len(runs), work
    if found.kind == "s-lora":
        names = [profile] if profile else sorted({PROFILES[run.gpu] for run in found.slora})
        known = {name: load_profile(name) for name in names}
        work = (judge_slora(run, profile) for run in found.slora)
        return "Published runs of S-LoRA", known, len(found.slora), work
    known = {} if profile is None else {profile: load_profile(profile)}
    rows: Iterable[Judged] = ()
    tables = found.tables
    if tables:
        if profile is None:
            raise UserError(
                f"{tables[0].path.name}: does not say what to predict with: choose a profile"
            )
        if known[profile].load is None and any(table.format is LOADS for table in tables):
            tables = [table for table in tables if table.format is not LOADS]
            notes.append("Loads are left out: the profile does not say how long they take")
        rows = judge_tables(tables, known[profile])
    runs_of_own = (judge_run(run, profile, _watched) for run in found.runs)
    what = {table.format.name.replace("_", " ") for table in tables if len(table)}
    told = " and ".join([*sorted(what), *(["runs"] if found.runs else [])])
    count = sum(map(len, tables)) + len(found.runs)
    return f"Measured {told}", known, count, chain(rows, runs_of_own)


def _watched(time_s: float, arrived: int) -> None:
    if arrived > 1.2 * MOST_REQUESTS:
        raise UserError(
            f"more than {MOST_REQUESTS:,} requests arrive, which is the most that this dashboard "
            "simulates; use the command line, which has no such limit"
        )


def _until(
    ends_s: float, work: Iterator[Judged], count: int, began: float, progress: Progress
) -> Iterator[Judged]:
    """What is predicted until that time, at least one."""
    for done, one in enumerate(work, 1):
        yield one
        progress(began + (1 - began) * done / max(count, 1), f"predicting, {done:,} of {count:,}")
        if time.monotonic() > ends_s:
            return
