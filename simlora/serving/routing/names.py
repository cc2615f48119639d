"""Routers by what a scenario calls them."""

from __future__ import annotations

from simlora.serving.registry import Registry
from simlora.serving.routing.adapter_affinity import AdapterAffinity
from simlora.serving.routing.base import Router
from simlora.serving.routing.latency_aware import LatencyAware
from simlora.serving.routing.least_loaded import LeastLoaded
from simlora.serving.routing.power_of_two import PowerOfTwo
from simlora.serving.routing.round_robin import RoundRobin
from simlora.serving.routing.score import Score
from simlora.serving.routing.session_sticky import SessionSticky

# Each is made without arguments.
ROUTING: Registry[Router] = Registry(
    "gateway.routing",
    Router,
    {
        "adapter_affinity": AdapterAffinity,
        "latency_aware": LatencyAware,
        "least_loaded": LeastLoaded,
        "power_of_two": PowerOfTwo,
        "round_robin": RoundRobin,
        "score": Score,
        "session_sticky": SessionSticky,
    },
)
