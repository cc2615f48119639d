"""Eviction policies: which resident adapter goes when room is needed."""

from simlora.serving.eviction.base import EvictionPolicy
from simlora.serving.eviction.lru import LRU
from simlora.serving.registry import Registry

EVICTION: Registry[EvictionPolicy] = Registry("adapters.hot.eviction", EvictionPolicy, {"lru": LRU})

__all__ = ["EVICTION", "LRU", "EvictionPolicy"]
