"""simpy events in the order that decisions need at equal times."""

from __future__ import annotations

from typing import Any

from simpy import Environment
from simpy.events import NORMAL, Event, EventPriority

# At one instant arrivals and finished transfers come before the step boundaries that react to
# them, and gauges are read last. simpy's own priorities end at NORMAL.
BOUNDARY = EventPriority(NORMAL + 1)
GAUGES = EventPriority(NORMAL + 2)


class After(Event):
    """Triggers after `delay` seconds, at a priority of one's own (simpy's Timeout has none)."""

    def __init__(self, env: Environment, delay: float, priority: EventPriority) -> None:
        self.env = env
        self.callbacks: list[Any] = []
        self._value = None
        self._ok = True
        env.schedule(self, priority, delay)
