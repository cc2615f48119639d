"""Arrival processes: when requests come, whoever sends them.

`ArrivalProcess` is the seam: a built-in is found by name in `PROCESSES`, one's own class by its
dotted path (`arrivals: my_package.my_module:MyArrivals`), made without arguments.
"""

from __future__ import annotations

from simlora.scenario.traffic import (
    Arrivals,
    DiurnalArrivals,
    DiurnalShape,
    GammaArrivals,
    MmppArrivals,
    MmppShape,
    WeibullArrivals,
)
from simlora.serving.registry import Registry
from simlora.workload.arrivals.base import ArrivalProcess
from simlora.workload.arrivals.modulated import Diurnal, Mmpp
from simlora.workload.arrivals.renewal import Constant, Gamma, Poisson, Weibull

__all__ = ["PROCESSES", "ArrivalProcess", "arrival_process"]

# `gamma` and `weibull` named without a cv are the burstiness that BurstGPT and ServeGen report for
# typical clients (cv 2).
DEFAULT_CV = 2.0

PROCESSES: Registry[ArrivalProcess] = Registry(
    "workload.arrivals",
    ArrivalProcess,
    {
        "poisson": Poisson,
        "constant": Constant,
        "gamma": lambda: Gamma(DEFAULT_CV),
        "weibull": lambda: Weibull(DEFAULT_CV),
        "mmpp": lambda: Mmpp(MmppShape()),
        "diurnal": lambda: Diurnal(DiurnalShape()),
    },
)


def arrival_process(arrivals: Arrivals) -> ArrivalProcess:
    """Return the process that a scenario's `workload.arrivals` names.

    `bursts` and `sessions` choose tenants too and are handled by their own modules.

    Raises:
        UserError: a dotted path that names no arrival process.
    """
    match arrivals:
        case GammaArrivals(gamma=shape):
            return Gamma(shape.cv)
        case WeibullArrivals(weibull=shape):
            return Weibull(shape.cv)
        case MmppArrivals(mmpp=shape):
            return Mmpp(shape)
        case DiurnalArrivals(diurnal=shape):
            return Diurnal(shape)
        case str():
            return PROCESSES.make(arrivals)
    raise TypeError(f"no arrival process for {arrivals!r}")
