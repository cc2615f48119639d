"""The configurations that `plan` chooses from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from simlora.errors import UserError
from simlora.scenario.catalog import Weights, gpu_names
from simlora.scenario.problems import did_you_mean
from simlora.scenario.schema import Pool, Scenario

# In the catalog, but not let by clouds as a server's GPU.
_NOT_LET = ("cpu", "h100-64gb", "rtx-4090")
_TENSOR_PARALLEL = (1, 2, 4, 8)
_ValueT = TypeVar("_ValueT")


@dataclass(frozen=True, slots=True)
class Configuration:
    """A fleet but for the number of its replicas. None: as the scenario has it.

    `hot_adapters` is `engine.memory.max_loras` where memory is in slots, else
    `adapters.hot.max_adapters`; `admission` is `gateway.admission.max_queue`, by tier.
    """

    gpu: str
    tensor_parallel: int
    weights: Weights
    hot_adapters: int | None = None
    warm_gb: float | None = None
    eviction: str | None = None
    routing: str | None = None
    admission: tuple[tuple[str, int], ...] | None = None

    @property
    def name(self) -> str:
        """Such as `2 x h100-80gb fp8, 32 hot, lru`."""
        gpus = f"{self.tensor_parallel} x {self.gpu}" if self.tensor_parallel > 1 else self.gpu
        parts = [f"{gpus} {self.weights}"]
        if self.hot_adapters is not None:
            parts.append(f"{self.hot_adapters} hot")
        if self.warm_gb is not None:
            parts.append(f"{self.warm_gb:g} GB warm")
        parts += [value for value in (self.eviction, self.routing) if value is not None]
        if self.admission is not None:
            limits = ", ".join(f"{tier} {most}" for tier, most in self.admission)
            parts.append(f"queue {limits or 'unlimited'}")
        return ", ".join(parts)

    def applied(self, scenario: Scenario, replicas: int) -> Scenario:
        """The scenario on this fleet; not checked, as `expand` does that."""
        engine, adapters, gateway = scenario.engine, scenario.adapters, scenario.gateway
        hot, warm = adapters.hot, adapters.warm
        if self.hot_adapters is not None:
            if engine.memory.mode == "slots":
                memory = engine.memory.model_copy(update={"max_loras": self.hot_adapters})
                engine = engine.model_copy(update={"memory": memory})
            else:
                hot = hot.model_copy(update={"max_adapters": self.hot_adapters})
        if self.eviction is not None:
            hot = hot.model_copy(update={"eviction": self.eviction})
        if self.warm_gb is not None:
            warm = warm.model_copy(update={"capacity_gb": self.warm_gb})
        if self.routing is not None:
            gateway = gateway.model_copy(update={"routing": self.routing})
        if self.admission is not None:
            admission = gateway.admission.model_copy(update={"max_queue": dict(self.admission)})
            gateway = gateway.model_copy(update={"admission": admission})
        model = scenario.model.model_copy(update={"weights": self.weights})
        return scenario.model_copy(
            update={
                "model": model,
                "fleet": [self._pool(scenario.fleet[0], replicas)],
                "engine": engine,
                "adapters": adapters.model_copy(update={"hot": hot, "warm": warm}),
                "gateway": gateway,
            }
        )

    def explained(self, error: UserError, scenario: Scenario) -> UserError:
        """The mistake by the field of the scenario's `plan` block that the value is from, if it is
        one of those."""
        told, asked = str(error), scenario.plan
        limits = [tuple(sorted(one.items())) for one in asked.admission or ()]
        for field, name, value, values in (
            ("adapters.hot.eviction", "eviction", self.eviction, asked.eviction),
            ("gateway.routing", "routing", self.routing, asked.routing),
            ("gateway.admission.max_queue", "admission", self.admission, limits),
        ):
            if value is not None and values and told.startswith((f"{field}.", f"{field}: ")):
                place = list(values).index(value)  # type: ignore[arg-type]
                return UserError(f"plan.{name}.{place}{told.removeprefix(field)}")
        return error

    def _pool(self, own: Pool, replicas: int) -> Pool:
        """The scenario's pool with these GPUs; a price of its own goes with its kind of GPU."""
        model = own.model
        if model is not None:
            model = model.model_copy(update={"weights": self.weights})
        return own.model_copy(
            update={
                "gpu": self.gpu,
                "replicas": replicas,
                "tensor_parallel": self.tensor_parallel,
                "usd_per_gpu_hour": own.usd_per_gpu_hour if self.gpu == own.gpu else None,
                "model": model,
            }
        )


def configurations(scenario: Scenario) -> list[Configuration]:
    """All that the scenario's `plan` block asks for, in its order.

    Raises UserError for a fleet that no plan can vary, and for a GPU that nobody knows.
    """
    _check_fleet(scenario)
    asked, own = scenario.plan, scenario.fleet[0]
    known = gpu_names(scenario.catalog)
    let = [name for name in known if name not in _NOT_LET or name == own.gpu]
    for index, name in enumerate(asked.gpus or ()):
        if name not in known:
            raise UserError(f'plan.gpus.{index}: no GPU "{name}": {did_you_mean(name, known)}')
    admission: list[tuple[tuple[str, int], ...] | None] = [None]
    if asked.admission is not None:
        admission = [tuple(sorted(limits.items())) for limits in asked.admission]
    weights: Sequence[Weights] = [(own.model or scenario.model).weights]
    return [
        Configuration(*values)
        for values in product(
            _once(asked.gpus or let),
            _once(asked.tensor_parallel or _TENSOR_PARALLEL),
            _once(asked.weights or weights),
            _once(asked.hot_adapters or [None]),
            _once(asked.warm_gb or [None]),
            _once(asked.eviction or [None]),
            _once(asked.routing or [None]),
            _once(admission),
        )
    ]


def _check_fleet(scenario: Scenario) -> None:
    if len(scenario.fleet) > 1:
        raise UserError(
            f"fleet: plan searches fleets of one pool, and this one has {len(scenario.fleet)}; "
            "`plan --peak` tells what load a fleet of several pools holds"
        )
    if scenario.fleet[0].autoscale is not None:
        raise UserError(
            "fleet.0.autoscale: plan searches the number of replicas, so it must not change during "
            "a run; leave autoscale out"
        )


def _once(values: Sequence[_ValueT]) -> list[_ValueT]:
    return list(dict.fromkeys(values))
