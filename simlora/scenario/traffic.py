"""Who asks what and when, as a user may ask for it: the `workload` block of a scenario."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from simlora.scenario.field_types import (
    Duration,
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Rate,
    Tokens,
)
from simlora.scenario.strict import Strict, choice

DEFAULT_DURATION_S = 600.0  # of synthetic traffic that neither a time nor a number of requests ends


class Fixed(Strict):
    """Every length alike."""

    fixed: Tokens


class Bounds(Strict):
    """Smallest and largest length, both included."""

    min: Tokens
    max: Tokens

    @model_validator(mode="after")
    def _in_order(self) -> Bounds:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must not be greater than max ({self.max})")
        return self


class Uniform(Strict):
    """Integers from `min` to `max`, both included, all alike."""

    uniform: Bounds


class LognormalShape(Bounds):
    """`mean` is the mean in tokens (before clipping), `sigma` the deviation of log(tokens)."""

    mean: PositiveFloat
    sigma: NonNegativeFloat
    min: Tokens = 1
    max: Tokens = 131_072


class Lognormal(Strict):
    """Lengths from a clipped lognormal distribution."""

    lognormal: LognormalShape


class Empirical(Strict):
    """Lengths drawn from a trace's own column (prompt or output, whichever is being drawn)."""

    empirical: str


LengthPreset = Literal["sharegpt", "azure-conv", "azure-code"]
Length = Annotated[
    Annotated[LengthPreset, Tag("<name>")]
    | Annotated[Fixed, Tag("<fixed>")]
    | Annotated[Uniform, Tag("<uniform>")]
    | Annotated[Lognormal, Tag("<lognormal>")]
    | Annotated[Empirical, Tag("<empirical>")],
    choice(
        get_args(LengthPreset),
        fixed=Fixed,
        uniform=Uniform,
        lognormal=Lognormal,
        empirical=Empirical,
    ),
]


class TopShape(Strict):
    """`share` of the requests go to the `count` most popular adapters."""

    count: PositiveInt
    share: Fraction
    zipf: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0


class Top(Strict):
    """A head and a tail: `share` of the requests on `count` adapters, the rest on all others; in
    each of the two by the law of `zipf` (0: all alike)."""

    top: TopShape


class Zipf(Strict):
    """Request share of the k-th most popular adapter is proportional to k**-zipf."""

    zipf: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


Popularity = Annotated[
    Annotated[Literal["uniform"], Tag("<name>")]
    | Annotated[Zipf, Tag("<zipf>")]
    | Annotated[Top, Tag("<top>")],
    choice(("uniform",), zipf=Zipf, top=Top),
]


class CvShape(Strict):
    """`cv`: coefficient of variation of the gaps between arrivals."""

    cv: Annotated[float, Field(ge=0.01, le=100, allow_inf_nan=False)]


class GammaArrivals(Strict):
    """Gaps from a gamma distribution: `cv` above 1 is burstier than Poisson."""

    gamma: CvShape


class WeibullArrivals(Strict):
    """Gaps from a Weibull distribution."""

    weibull: CvShape


class MmppShape(Strict):
    """Two-state Markov-modulated Poisson process: mean rate kept, `burst_factor` times the calm
    rate while bursting, exponential sojourns."""

    burst_factor: Annotated[float, Field(gt=1, le=10_000, allow_inf_nan=False)] = 5.0
    calm_s: Annotated[Duration, Field(ge=0.001)] = 60.0
    burst_s: Annotated[Duration, Field(ge=0.001)] = 10.0


class MmppArrivals(Strict):
    """A Markov-modulated Poisson process."""

    mmpp: MmppShape


class DiurnalShape(Strict):
    """Poisson whose rate swings as a sine: peak over trough is `peak_to_trough`."""

    period_s: Duration = 86_400.0
    peak_to_trough: Annotated[float, Field(ge=1, le=1_000_000, allow_inf_nan=False)] = 3.0
    peak_at_s: NonNegativeFloat = 43_200.0


class DiurnalArrivals(Strict):
    """A daily rhythm."""

    diurnal: DiurnalShape


class BurstShape(Strict):
    """On top of Poisson: `tenant` sends `requests` more, evenly at random over `duration_s`; with a
    group's name each of its tenants does."""

    tenant: str
    start_s: NonNegativeFloat
    duration_s: Duration
    requests: PositiveInt


class BurstArrivals(Strict):
    """Bursts of single tenants on top of Poisson."""

    bursts: Annotated[list[BurstShape], Field(min_length=1)]


class SessionShape(Strict):
    """Multi-turn conversations: `rate_rps` counts turns; each turn's prompt is the conversation so
    far plus a new message, so prefixes grow. Turns are geometric with mean `turns_mean`, think
    times exponential with mean `think_time_s`. Every prompt begins with `common_prefix_tokens` of
    the platform's own, equal for all tenants; then come `shared_prefix_tokens`, the system prompt
    of the tenant, equal in all its sessions."""

    turns_mean: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)] = 4.0
    think_time_s: Duration = 30.0
    max_context_tokens: Tokens = 8192
    common_prefix_tokens: Annotated[int, Field(ge=0, le=100_000_000)] = 0
    shared_prefix_tokens: Annotated[int, Field(ge=0, le=100_000_000)] = 0


class SessionArrivals(Strict):
    """Multi-turn conversations."""

    sessions: SessionShape


ArrivalPattern = Literal["poisson", "constant", "gamma", "weibull", "mmpp", "diurnal", "sessions"]
# A name, or the dotted path `package.module:Class` of one's own arrival process.
NamedArrivals = Annotated[
    Annotated[ArrivalPattern, Tag("<name>")] | Annotated[str, Tag("<path>")],
    Discriminator(lambda value: "<path>" if ":" in str(value) else "<name>"),
]
Arrivals = Annotated[
    Annotated[NamedArrivals, Tag("<name>")]
    | Annotated[GammaArrivals, Tag("<gamma>")]
    | Annotated[WeibullArrivals, Tag("<weibull>")]
    | Annotated[MmppArrivals, Tag("<mmpp>")]
    | Annotated[DiurnalArrivals, Tag("<diurnal>")]
    | Annotated[BurstArrivals, Tag("<bursts>")]
    | Annotated[SessionArrivals, Tag("<sessions>")],
    choice(
        get_args(ArrivalPattern),
        gamma=GammaArrivals,
        weibull=WeibullArrivals,
        mmpp=MmppArrivals,
        diurnal=DiurnalArrivals,
        bursts=BurstArrivals,
        sessions=SessionArrivals,
    ),
]


class ClientRetries(Strict):
    """What clients do when they are turned away (429 or 503): up to `retries` times they ask again,
    after the time that the answer names. A request counts once, and its latency from its first
    attempt."""

    retries: Annotated[int, Field(ge=0, le=100)] = 0


class Workload(Strict):
    """Synthetic traffic, or the replay of a trace file (`trace`), never both.

    With `trace`, `rate_scale` replays it that many times faster and `duration_s`, if given, stops
    it early; with `source: synthetic`, `duration_s` (default 600) or `max_requests` ends it.
    `on_end: discard` cuts what is unfinished when the arrivals end, `drain` lets it complete.
    """

    source: Literal["synthetic"] = "synthetic"
    trace: str | None = None
    rate_scale: Rate = 1.0
    duration_s: Duration | None = None
    max_requests: PositiveInt | None = None
    rate_rps: Rate | None = None
    popularity: Popularity = Zipf(zipf=1.0)
    arrivals: Arrivals = "poisson"
    prompt_tokens: Length = "sharegpt"
    output_tokens: Length = "sharegpt"
    prefix_block_tokens: PositiveInt | None = None  # tokens a prefix hash of the trace stands for
    clients: ClientRetries = ClientRetries()
    on_end: Literal["drain", "discard"] = "drain"
