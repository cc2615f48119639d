"""Shortest expected job first, with ageing if asked for."""

from __future__ import annotations

from math import log2

from simlora.scenario.schema import Fairness
from simlora.serving.fairness.base import Rank
from simlora.serving.fairness.flows import FlowTable
from simlora.serving.fairness.lengths import OutputLengths
from simlora.serving.fairness.one_queue import OneQueue
from simlora.serving.request import Request


class SJF(OneQueue):
    """By the expected cost in weighted tokens: `input_weight` x prompt + `output_weight` x the
    output expected of the tenant when the request is pushed. What was preempted goes before all.

    With `age_s` the cost counts as `cost x 2 ** (-wait_s / age_s)`: it halves for every `age_s`
    seconds since the arrival. As all shrink at one rate, two requests never change places, so a
    rank is fixed: `log2(cost) + arrival_s / age_s`. A request of cost C is overtaken by one of cost
    c only if that arrived less than `age_s x log2(C / c)` seconds after it.
    """

    def __init__(self, table: FlowTable, options: Fairness) -> None:
        super().__init__()
        self._input_weight = options.input_weight
        self._output_weight = options.output_weight
        self._age_s = options.age_s
        self._lengths = OutputLengths(options.oracle)

    def on_finish(self, request: Request) -> None:
        self._lengths.learn(request)

    def rank(self, request: Request, now: float) -> Rank:
        if request.index in self._heap:
            return self._heap.rank(request.index)
        if request.preemptions:
            return (0, 0.0, request.index)
        cost = self._input_weight * max(1, request.prompt_tokens)
        cost += self._output_weight * self._lengths.expected(request)
        if self._age_s is not None:
            cost = log2(cost) + request.arrival_s / self._age_s
        return (1, cost, request.index)
