"""The embedded engine, for whoever can do without it until then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.serving.memory import MemoryPlan

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded


def open_engine(deployment: Deployment, plan: MemoryPlan, device: str | None = None) -> Embedded:
    """The engine for a scenario's first pool, on "cuda" or "cpu" (default: the GPU if there is
    one). Raises UserError if torch is not installed, the device is not there, or its memory does
    not suffice."""
    try:
        from simlora.live.embedded import Embedded, default_device
    except ModuleNotFoundError as error:
        raise UserError(
            f"--engine: the embedded engine needs the package {error.name}; "
            "pip install 'simlora[engine]'"
        ) from None
    return Embedded(deployment, plan, device or default_device())
