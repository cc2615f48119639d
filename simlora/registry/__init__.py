"""The adapters that may be served: what each one is, who signed for it, and whether its files are
still the ones that were signed. Needs no torch."""

from simlora.registry.record import Record
from simlora.registry.store import Registry

__all__ = ["Record", "Registry"]
