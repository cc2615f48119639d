"""The wall-clock driver: a scenario served in real time, by the decisions that are simulated."""

from simlora.live.run import run_live

__all__ = ["run_live"]
