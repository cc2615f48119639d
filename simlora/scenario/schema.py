"""What a user may ask: the scenario, as strict pydantic models.

Schemas only: no file access and no arithmetic. Every field has a default but `name`, `model`,
`fleet`, `tenants` and `workload`. Units are in the names (`_s`, `_rps`, `_gb` = 1e9 bytes,
`_gbps` = gigabits per second, `_usd`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from simlora.scenario.adapter_shape import AdapterShape, Targets, TargetSet
from simlora.scenario.adapters import (
    Adapters,
    AdaptiveSize,
    Cadence,
    Eviction,
    HotTier,
    LoadFailures,
    NvmeTier,
    Prefetch,
    StoreTier,
    WarmTier,
)
from simlora.scenario.cost import Cost
from simlora.scenario.engine import Engine, Memory, PrefixCaching, Scheduler
from simlora.scenario.events import Event
from simlora.scenario.field_types import Fraction, Name, PositiveFloat, Usd
from simlora.scenario.gateway import Admission, Fairness, Gateway, RateLimit
from simlora.scenario.plan import Plan
from simlora.scenario.platform import (
    ModelChoice,
    Pool,
    TenantGroup,
    model_by_name,
)
from simlora.scenario.strict import Strict
from simlora.scenario.traffic import (
    BurstArrivals,
    BurstShape,
    ClientRetries,
    CvShape,
    DiurnalArrivals,
    DiurnalShape,
    Empirical,
    Fixed,
    GammaArrivals,
    Lognormal,
    LognormalShape,
    MmppArrivals,
    MmppShape,
    SessionArrivals,
    SessionShape,
    Uniform,
    WeibullArrivals,
    Workload,
    Zipf,
)
from simlora.scenario.versions import Candidate, Rollback, Rollout

__all__ = [
    "AdapterShape",
    "Adapters",
    "AdaptiveSize",
    "Admission",
    "BurstArrivals",
    "BurstShape",
    "Cadence",
    "Candidate",
    "ClientRetries",
    "CvShape",
    "DiurnalArrivals",
    "DiurnalShape",
    "Empirical",
    "Engine",
    "Eviction",
    "Fairness",
    "Fixed",
    "GammaArrivals",
    "Gateway",
    "HotTier",
    "LoadFailures",
    "Lognormal",
    "LognormalShape",
    "Memory",
    "MmppArrivals",
    "MmppShape",
    "ModelChoice",
    "NvmeTier",
    "Plan",
    "Pool",
    "Prefetch",
    "PrefixCaching",
    "RateLimit",
    "Rollback",
    "Rollout",
    "Run",
    "Scenario",
    "Scheduler",
    "SessionArrivals",
    "SessionShape",
    "Sla",
    "StoreTier",
    "Strict",
    "TargetSet",
    "Targets",
    "TenantGroup",
    "Tier",
    "Timing",
    "Uniform",
    "UserCatalog",
    "WarmTier",
    "WeibullArrivals",
    "Workload",
    "Zipf",
]


class Sla(Strict):
    """Promised bounds; None is no promise. Attainment counts requests within every bound.

    `availability`: share of completed among the requests that ended, or were still unanswered at
    the end of the run although a bound on their time had passed.
    """

    ttft_p99_s: PositiveFloat | None = None
    tpot_p99_s: PositiveFloat | None = None
    e2e_p99_s: PositiveFloat | None = None
    availability: Fraction | None = None


class Tier(Strict):
    """An SLA tier: its promised bounds are judged. `weight` divides the service under `wfq`, `drr`
    and `vtc`, and ranks tiers under `priority`, with `order: priority` and `victim: lowest_tier`,
    and in evictions by policies that look at it. `price_usd_month` is what one tenant pays:
    `simlora cost` holds it against what the tenant costs."""

    weight: PositiveFloat = 1.0
    sla: Sla = Sla()
    price_usd_month: Usd = 0.0


class Timing(Strict):
    """Where step times come from: `nearest` (the shipped profile of `engine.preset` whose hardware
    and model are most like the fleet's; without any, the roofline), `roofline` (datasheet figures),
    the name of a shipped profile, the path of a JSON file that `calibrate` wrote, or a dotted path
    (`package.module:Class`) to one's own TimingModel.

    A profile brings the times of copies into GPU memory along, in place of the GPU's host link and
    `adapters.warm.registration_s`. On other hardware than it was measured on, or for another model,
    it is scaled by the roofline, and the result says so.
    """

    profile: str = "nearest"


class Run(Strict):
    """`warmup_s`: requests that arrive before it are simulated but not counted.
    `fast_forward: false` is the slow step-by-step reference. `report`: write report.html.
    `decisions`: write decisions.jsonl, every decision in its order, as `live` always does; each
    step is one, so they are taken one by one. `replications`: how many runs, on as many seeds,
    `compare` makes of it; `run` makes one."""

    warmup_s: Annotated[float, Field(ge=0, le=1_000_000_000, allow_inf_nan=False)] = 0.0
    fast_forward: bool = True
    report: bool = True
    decisions: bool = False
    replications: Annotated[int, Field(gt=0, le=10_000)] = 1


class UserCatalog(Strict):
    """One's own GPUs and models, or changed figures of known ones (`base` names what to start
    from); same fields as the catalog's data files."""

    gpus: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    models: dict[Name, dict[str, Any]] = Field(default_factory=dict)


class Scenario(Strict):
    """A whole question to the simulator.

    `load_scenario` and `with_overrides` tell a mistake as a UserError; made directly, a scenario
    raises pydantic's ValidationError, and what does not fit together shows in `simulate`.
    """

    name: Name
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    model: Annotated[ModelChoice, BeforeValidator(model_by_name)]
    fleet: Annotated[list[Pool], Field(min_length=1)]
    tenants: Annotated[list[TenantGroup], Field(min_length=1)]
    workload: Workload
    engine: Engine = Engine()
    adapters: Adapters = Adapters()
    gateway: Gateway = Gateway()
    events: list[Event] = Field(default_factory=list)
    tiers: dict[Name, Tier] = Field(default_factory=dict)
    timing: Timing = Timing()
    cost: Cost = Cost()
    run: Run = Run()
    plan: Plan = Plan()
    catalog: UserCatalog = UserCatalog()

    def with_overrides(self, overrides: Mapping[str, Any]) -> Scenario:
        """A copy with some fields changed, by dotted key: `{"fleet.0.replicas": 2}`.

        Raises UserError for a key that does not exist or a value that does not fit.
        """
        from simlora.scenario.loading import override_scenario

        return override_scenario(self, overrides)
