"""What goes wrong in a run, and when: the `events` of a scenario, a line each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from simlora.scenario.field_types import Duration, Name, NonNegativeFloat, PositiveFloat
from simlora.scenario.strict import Strict, choice

# Replicas count through the fleet from 0.
ReplicaNumber = Annotated[int, Field(ge=0, lt=10_000)]


_KINDS = ("crash", "region_outage", "slow_gpu", "store_outage", "corrupt_adapter", "pool_leak")


class Timed(Strict):
    """Begins at `at_s` and lasts `duration_s`."""

    at_s: NonNegativeFloat
    duration_s: Duration

    @model_validator(mode="before")
    @classmethod
    def _is_one_event(cls, data: Any) -> Any:
        # Validators of this mode run from the last to the first: so the second kind is not told as
        # an unknown field of the first.
        named = [kind for kind in _KINDS if kind in data] if isinstance(data, dict) else []
        if len(named) > 1:
            raise PydanticCustomError(
                "several_events",
                "names {kinds}, but one line is one event: give each a line of its own",
                {"kinds": " and ".join(named)},
            )
        return data


class Crash(Timed):
    """A replica is lost with all that is in its GPU's and its host's memory; after `duration_s` it
    is back, cold."""

    crash: ReplicaNumber


class RegionOutage(Timed):
    """All replicas of a region are lost at once, as by a crash."""

    region_outage: Name


class SlowGpu(Timed):
    """The steps of a replica take `factor` times as long."""

    slow_gpu: ReplicaNumber
    factor: Annotated[float, Field(ge=1, le=1000, allow_inf_nan=False)]


class StoreOutage(Timed):
    """The object store does not answer: transfers from it fail when they would end."""

    store_outage: Literal[True]


class CorruptAdapter(Timed):
    """The file of an adapter is damaged, on disk and in the store: its transfers fail their check.
    Copies in memory are good."""

    corrupt_adapter: str


class PoolLeak(Timed):
    """A replica loses memory of its pool at a steady rate, down to what one request of the greatest
    length needs with its adapter; only a crash gives it back."""

    pool_leak: ReplicaNumber
    gb_per_s: PositiveFloat


Event = Annotated[
    Annotated[Crash, Tag("<crash>")]
    | Annotated[RegionOutage, Tag("<region_outage>")]
    | Annotated[SlowGpu, Tag("<slow_gpu>")]
    | Annotated[StoreOutage, Tag("<store_outage>")]
    | Annotated[CorruptAdapter, Tag("<corrupt_adapter>")]
    | Annotated[PoolLeak, Tag("<pool_leak>")],
    choice(
        (),
        crash=Crash,
        region_outage=RegionOutage,
        slow_gpu=SlowGpu,
        store_outage=StoreOutage,
        corrupt_adapter=CorruptAdapter,
        pool_leak=PoolLeak,
    ),
]
