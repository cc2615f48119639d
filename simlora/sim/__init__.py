"""The simpy driver: serving decisions in virtual time."""

from simlora.sim.run import simulate

__all__ = ["simulate"]
