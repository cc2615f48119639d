"""How long things take. Arithmetic only."""

from simlora.timing.base import TimingModel, run_s, steps_until
from simlora.timing.roofline import Roofline
from simlora.timing.select import make_timing

__all__ = ["Roofline", "TimingModel", "make_timing", "run_s", "steps_until"]
