"""Queue disciplines: which waiting request is admitted next, fairly among tenants or tiers."""

from simlora.serving.fairness.base import QueueDiscipline, Rank
from simlora.serving.fairness.fcfs import OrderedQueue
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.fairness.names import DISCIPLINES, make_discipline

__all__ = [
    "DISCIPLINES",
    "FlowTable",
    "OrderedQueue",
    "QueueDiscipline",
    "Rank",
    "make_discipline",
]
