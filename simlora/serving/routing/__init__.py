"""Routing policies: which replica serves a request."""

from simlora.serving.routing.adapter_affinity import AdapterAffinity
from simlora.serving.routing.base import Foresees, Learns, ReplicaView, Router, likely_replica
from simlora.serving.routing.latency_aware import LatencyAware
from simlora.serving.routing.least_loaded import LeastLoaded
from simlora.serving.routing.names import ROUTING
from simlora.serving.routing.power_of_two import PowerOfTwo
from simlora.serving.routing.round_robin import RoundRobin
from simlora.serving.routing.score import Score
from simlora.serving.routing.session_sticky import SessionSticky

__all__ = [
    "ROUTING",
    "AdapterAffinity",
    "Foresees",
    "LatencyAware",
    "Learns",
    "LeastLoaded",
    "PowerOfTwo",
    "ReplicaView",
    "RoundRobin",
    "Router",
    "Score",
    "SessionSticky",
    "likely_replica",
]
