"""Disciplines by what a scenario calls them."""

from __future__ import annotations

from simlora.errors import UserError
from simlora.scenario.deployment import Deployment
from simlora.scenario.schema import Fairness
from simlora.serving.fairness.base import QueueDiscipline
from simlora.serving.fairness.drr import DRR
from simlora.serving.fairness.fcfs import OrderedQueue
from simlora.serving.fairness.flows import FIELD, FlowTable
from simlora.serving.fairness.priority import Priority
from simlora.serving.fairness.sjf import SJF
from simlora.serving.fairness.vtc import VTC
from simlora.serving.fairness.wfq import WFQ
from simlora.serving.queue_order import FCFS
from simlora.serving.registry import Registry


def _first_come_first_served(table: FlowTable, options: Fairness) -> OrderedQueue:
    return OrderedQueue(FCFS())


# Each is made with a FlowTable and the Fairness.
DISCIPLINES: Registry[QueueDiscipline] = Registry(
    f"{FIELD}.policy",
    QueueDiscipline,
    {
        "drr": DRR,
        "fcfs": _first_come_first_served,
        "priority": Priority,
        "sjf": SJF,
        "vtc": VTC,
        "wfq": WFQ,
    },
)

_RESERVING = ("vtc", "wfq")


def make_discipline(deployment: Deployment, options: Fairness) -> QueueDiscipline:
    """The discipline that `options` ask for, one a queue.

    Raises UserError if there is no such policy, if the reserved shares do not fit the tiers, or if
    the policy cannot keep them.
    """
    policy = options.policy
    if options.reserved and policy in DISCIPLINES.names() and policy not in _RESERVING:
        raise UserError(
            f"{FIELD}.reserved: {policy} cannot keep reserved shares; allowed are "
            f"{' and '.join(_RESERVING)}"
        )
    return DISCIPLINES.make(policy, FlowTable.of(deployment, options), options)
