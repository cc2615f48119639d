"""Output paid for before it is generated."""

from __future__ import annotations

from collections import defaultdict


class PrepaidOutput:
    """Output tokens charged to each flow: what it has generated, and what is expected of its
    admitted requests beyond that.

    The server tells how many tokens a flow has generated, not which request did. So the prepaid
    tokens of a flow are one balance: generated tokens use it up before they are charged, and when a
    request is over, the balance is refunded down to what was prepaid for those that go on. When
    none does, exactly what was generated has been charged.
    """

    def __init__(self) -> None:
        self._prepaid: dict[int, float] = {}  # by request
        self._going_on: defaultdict[int, float] = defaultdict(float)  # the sums of it, by flow
        self._balance: defaultdict[int, float] = defaultdict(float)  # by flow

    def admit(self, flow: int, request: int, tokens: float) -> float:
        """A request of which `tokens` are expected is admitted. Returns the tokens to charge: none
        if it had been admitted before."""
        if request in self._prepaid:
            return 0.0
        self._prepaid[request] = tokens
        self._going_on[flow] += tokens
        self._balance[flow] += tokens
        return tokens

    def generate(self, flow: int, tokens: int) -> float:
        """A flow has generated output. Returns the tokens to charge for it."""
        covered = min(self._balance[flow], tokens)
        self._balance[flow] -= covered
        return tokens - covered

    def finish(self, flow: int, request: int) -> float:
        """A request is over, admitted or not. Returns the tokens to refund."""
        tokens = self._prepaid.pop(request, None)
        if tokens is None:
            return 0.0
        self._going_on[flow] -= tokens
        refund = max(0.0, self._balance[flow] - self._going_on[flow])
        self._balance[flow] -= refund
        return refund
