"""The simpy driver: serving decisions in virtual time."""

from simlora.sim.simulate import simulate

__all__ = ["simulate"]
