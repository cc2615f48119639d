"""Eviction policies: which resident adapter goes when room is needed."""

from simlora.serving.eviction.base import EvictionPolicy, PolicyContext
from simlora.serving.eviction.lru import LRU
from simlora.serving.eviction.names import EVICTION, make_policy

__all__ = ["EVICTION", "LRU", "EvictionPolicy", "PolicyContext", "make_policy"]
