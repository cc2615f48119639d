"""The points of a sweep: a grid over fields of a scenario, a list of points, or both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, product
from math import prod
from pathlib import Path
from typing import Any

from simlora.errors import UserError
from simlora.planning.axes import parse_values, refuse_overlaps, refuse_twice
from simlora.planning.seeds import replicated
from simlora.planning.sweep_identity import identity
from simlora.scenario import yamltext
from simlora.scenario.loading import load_scenario, override_scenario
from simlora.scenario.problems import given
from simlora.scenario.schema import Scenario

_OPTION = "--grid"
OPTION = f"{_OPTION} "
_MOST_TRIED = 1_000  # points with a value, before it is taken to be a mistake
_PRESET = "engine.preset"
_NAME_TIERS = ("tiers", "tenants")  # the fields that tiers are named in


@dataclass(frozen=True, slots=True)
class Axis:
    """A field of the scenario and the values that it takes."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Base:
    """A scenario file that points are made of."""

    file: Path

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario as it is in the file. Raises UserError."""
        return load_scenario(self.file)

    def with_settings(self, settings: Mapping[str, Any], option: str) -> Scenario:
        """What `load_scenario` makes of file and settings, ten times faster where it can be.

        Raises UserError with file, line and field, or `option` and the field.
        """
        # Another preset changes what the file leaves out, which the loaded scenario has filled in.
        if _PRESET not in settings:
            try:
                return override_scenario(self.scenario, settings)
            except UserError:
                pass  # told again below, with the line in the file
        return load_scenario(self.file, settings, option=option)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list: a scenario file, with some fields set."""

    base: Base
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """One run of a sweep: the settings numbered `index`, replicated on `seed`.

    `hash` is the identity of what is to be run; None if `error` says why no scenario can be made
    of the settings.
    """

    index: int
    scenario: str
    settings: Mapping[str, Any]
    replication: int
    seed: int
    hash: str | None
    error: str = ""


@dataclass(frozen=True)
class Sweep:
    """What is asked for: every entry under every combination of the axes' values, the last key's
    changing fastest, and each on as many seeds as there are `replications` (None: the scenario's
    `run.replications`). Replication `r` has the scenario's seed plus `r`, as in `compare`."""

    entries: tuple[Entry, ...]
    axes: tuple[Axis, ...] = ()
    replications: int | None = None

    @property
    def name(self) -> str:
        """The name of the first scenario."""
        return self.entries[0].base.scenario.name

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields that are set, those of the list first."""
        listed = (key for entry in self.entries for key in entry.settings)
        return tuple(dict.fromkeys([*listed, *(axis.key for axis in self.axes)]))

    def __len__(self) -> int:
        """How many runs there are, known without making any."""
        combinations = prod(len(axis.values) for axis in self.axes)
        return combinations * sum(map(self._replications, self.entries))

    def runs_of(self, index: int) -> int:
        """How many replications the settings numbered `index` have."""
        combinations = prod(len(axis.values) for axis in self.axes)
        return self._replications(self.entries[index // combinations])

    def points(self) -> Iterator[tuple[Point, Scenario | None]]:
        """Every point with its scenario (None: none can be made), made when it is asked for."""
        for index, (entry, settings, made) in enumerate(self._made()):
            base = entry.base.scenario
            for replication in range(self._replications(entry)):
                seed = base.seed + replication
                if isinstance(made, UserError):
                    point = Point(
                        index, base.name, settings, replication, seed, None, error=str(made)
                    )
                    yield point, None
                else:
                    run = made.model_copy(update={"seed": seed})
                    point = Point(index, run.name, settings, replication, seed, identity(run))
                    yield point, run

    def check(self) -> None:
        """Raises UserError if a value of an axis fits in no point, for then it is a mistake and no
        finding, and if there are no seeds left for the replications."""
        for entry in self.entries:
            replicated(entry.base.scenario.seed, self._replications(entry))
        for axis in self.axes:
            for value in axis.values:
                axes = (Axis(a.key, (value,)) if a is axis else a for a in self.axes)
                tried = islice(replace(self, axes=tuple(axes))._made(), _MOST_TRIED)
                mistake: UserError | None = None
                for _, _, made in tried:
                    if not isinstance(made, UserError):
                        break
                    mistake = mistake or made
                else:
                    assert mistake is not None  # a sweep without points cannot be made
                    raise mistake

    def tier_names(self) -> list[str]:
        """The tiers that points have, those of the first point first."""
        axes = tuple(axis for axis in self.axes if axis.key.split(".")[0] in _NAME_TIERS)
        few = [made for _, _, made in replace(self, axes=axes)._made()]
        scenarios: Iterable[Scenario | UserError] = few
        if any(isinstance(made, UserError) for made in few):  # what mends it is on another axis
            scenarios = (made for _, _, made in self._made())
        found: dict[str, None] = {}
        for scenario in scenarios:
            if not isinstance(scenario, UserError):
                found |= dict.fromkeys(scenario.tiers)
                found |= dict.fromkeys(group.tier for group in scenario.tenants)
        return list(found)

    def _replications(self, entry: Entry) -> int:
        return self.replications or entry.base.scenario.run.replications

    def _made(self) -> Iterator[tuple[Entry, dict[str, Any], Scenario | UserError]]:
        keys = [axis.key for axis in self.axes]
        for entry in self.entries:
            option = "" if entry.settings else OPTION
            for combination in product(*(axis.values for axis in self.axes)):
                settings = {**entry.settings, **dict(zip(keys, combination, strict=True))}
                try:
                    yield entry, settings, entry.base.with_settings(settings, option)
                except UserError as error:
                    yield entry, settings, error


def plan_sweep(
    scenario: Path,
    grid: Sequence[str] = (),
    listed: Path | None = None,
    replications: int | None = None,
) -> Sweep:
    """The sweep that `--grid key=a,b,c` texts and a list ask for.

    Raises UserError for a mistake in them or in a scenario file.
    """
    base = Base(scenario)
    entries = (Entry(base),) if listed is None else read_list(listed, base)
    sweep = Sweep(entries, tuple(map(parse_axis, grid)), replications)
    keys = [axis.key for axis in sweep.axes]
    refuse_twice(keys, _OPTION)
    for key in sweep.keys:
        if key == "seed":
            raise UserError(
                "seed: every point runs on the same seeds, so that they can be compared; choose "
                "the first one in the scenario and their number with --replications"
            )
    for entry in sweep.entries:
        _refuse_overlaps(entry, keys)
    sweep.check()
    return sweep


def parse_axis(text: str) -> Axis:
    """A `key=a,b,c` text; the values are YAML, as those of `run --set` are. Raises UserError.

    >>> parse_axis("workload.output_tokens={fixed: 64},sharegpt")
    Axis(key='workload.output_tokens', values=({'fixed': 64}, 'sharegpt'))
    """
    key, parsed = parse_values(text, _OPTION)
    told = [json.dumps(value) for value in parsed]  # in Python, 1 and true are equal
    for number, value in enumerate(parsed):
        if told[number] in told[:number]:
            raise UserError(f"{OPTION}{key}: {given(value)} is given twice")
    return Axis(key, tuple(parsed))


def read_list(file: Path, base: Base) -> tuple[Entry, ...]:
    """The entries of a YAML list: mappings of fields to values (`{fleet.0.replicas: 2}`), which
    are set in `base`, and names of scenario files, which start from the list's directory.

    Raises UserError with file and line.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{file}: cannot be read: {reason}") from None
    data, lines = yamltext.parse(text, str(file))
    if not isinstance(data, list) or not data:
        raise UserError(
            f"{file}: must be a YAML list of points, for example - {{fleet.0.replicas: 2}}, "
            f"not {given(data)}"
        )
    entries = []
    for number, entry in enumerate(data):
        where = f"{file}:{lines[(number,)]}"
        if isinstance(entry, str):
            entries.append(Entry(Base(file.parent / entry)))
        elif isinstance(entry, dict) and entry:
            entries.append(Entry(base, entry))
        else:
            raise UserError(
                f"{where}: a point is a mapping of fields to values, or the name of a scenario "
                f"file, not {given(entry)}"
            )
    return tuple(entries)


def _refuse_overlaps(entry: Entry, keys: Sequence[str]) -> None:
    """Raises UserError if a field is set twice, or one within another one."""
    for key in keys:
        if key in entry.settings:
            raise UserError(f"{OPTION}{key}: is set by the list as well")
    refuse_overlaps([*entry.settings, *keys], _OPTION)
