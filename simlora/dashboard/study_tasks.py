"""Tasks of several runs: policies compared, and who hurts whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from simlora.dashboard.figures import figures_of
from simlora.dashboard.limits import check_size
from simlora.dashboard.run_figures import RunFigures
from simlora.dashboard.tasks import Progress
from simlora.dashboard.trace_replay import placed
from simlora.planning.bound import is_bound
from simlora.planning.capacity_curves import CapacityCurves, capacity_curves
from simlora.planning.compare import Comparison, compare_variants
from simlora.planning.harm import Harm, harm
from simlora.planning.variants import Variant
from simlora.scenario.schema import Scenario
from simlora.sim import simulate


@dataclass(frozen=True, slots=True)
class Policies:
    """A comparison of policies, and the curves over capacity where these tell something."""

    compared: Comparison
    curves: CapacityCurves | None


@dataclass(frozen=True, slots=True)
class TierFigures:
    """A run without and, where one was asked for, with the burst, and what one tenant did to the
    others in the last of them."""

    calm: RunFigures
    noisy: RunFigures | None
    harm: Harm


def policies(
    scratch: Path,
    progress: Progress,
    scenario: Scenario,
    key: str,
    names: tuple[str, ...],
    replications: int,
) -> Policies:
    """Compare values of a field on the same seeds; the first is the baseline."""
    runs = len(names) * replications
    check_size(scenario, runs)
    scenario = placed(scratch, scenario)
    variants = [Variant(name, scenario.with_overrides({key: name}), {key: name}) for name in names]
    eviction = key == "adapters.hot.eviction"
    most = 0.8 if eviction else 1.0
    compared = compare_variants(
        variants,
        replications,
        progress=lambda done: progress(most * done / runs, f"{done} of {runs} runs"),
    )
    curves = None
    if eviction:
        progress(most, "miss-ratio curves")
        known = [variant for variant in variants if not is_bound(variant.scenario)] or variants
        curves = capacity_curves(known, compared.seeds[0])
    return Policies(compared, curves)


def tiers(
    scratch: Path,
    progress: Progress,
    calm: Scenario,
    noisy: Scenario | None,
    tenant: str,
    replications: int,
) -> TierFigures:
    """Simulate without and with a burst, and find whom `tenant` hurts."""
    loud = calm if noisy is None else noisy
    runs = 2 * replications + (1 if noisy is None else 2)
    check_size(loud, runs)
    calm, loud = placed(scratch, calm), placed(scratch, loud)
    done = 0

    def told(more: int) -> None:
        progress((done + more) / runs, f"{done + more} of {runs} runs")

    without = figures_of(simulate(calm))
    done = 1
    with_burst = None
    if noisy is not None:
        told(0)
        with_burst = figures_of(simulate(loud))
        done = 2
    told(0)
    return TierFigures(without, with_burst, harm(loud, tenant, replications, progress=told))
