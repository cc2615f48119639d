"""simlora: a simulator and capacity planner for multi-tenant LoRA serving.

>>> import simlora
>>> scenario = simlora.load_scenario("scenarios/quickstart.yaml")  # doctest: +SKIP
>>> result = simlora.simulate(scenario)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simlora.errors import UserError
    from simlora.results import Result, load_result
    from simlora.scenario.loading import load_scenario
    from simlora.scenario.schema import Scenario
    from simlora.sim import simulate

__version__ = "0.1.0"

__all__ = [
    "Result",
    "Scenario",
    "UserError",
    "__version__",
    "load_result",
    "load_scenario",
    "simulate",
]

# Loaded when first used: `import simlora` costs milliseconds, and a program that only reads
# results never imports the simulator.
_HOME = {
    "Result": "simlora.results",
    "Scenario": "simlora.scenario.schema",
    "UserError": "simlora.errors",
    "load_result": "simlora.results",
    "load_scenario": "simlora.scenario.loading",
    "simulate": "simlora.sim",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'simlora' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
