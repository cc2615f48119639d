"""Lengths by who asks: tenant groups may have their own in place of the workload's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simlora.scenario.deployment import Deployment
from simlora.workload.blocks import Tokens
from simlora.workload.lengths import RequestLengths
from simlora.workload.randomness import Purpose, stream

Draw = Callable[[Tokens], tuple[Tokens, Tokens]]


class GroupLengths:
    """Draws the prompt and output lengths of a scenario's synthetic requests, of which `paired`
    ones are drawn together where the source says how.

    A group with lengths of its own draws them from streams of its own: the n-th request of the
    group has the same lengths whoever else asks, and all other groups' are as they would be
    without.

    Raises:
        UserError: an `empirical` trace that cannot be read.
    """

    def __init__(self, deployment: Deployment, *, paired: bool = True) -> None:
        workload = deployment.scenario.workload
        self._seed = deployment.scenario.seed
        self._common = RequestLengths(workload.prompt_tokens, workload.output_tokens, paired)
        self._own = {
            index: RequestLengths(
                group.prompt_tokens or workload.prompt_tokens,
                group.output_tokens or workload.output_tokens,
                paired,
            )
            for index, group in enumerate(deployment.scenario.tenants)
            if group.prompt_tokens is not None or group.output_tokens is not None
        }
        self._group_of = np.array([tenant.group for tenant in deployment.tenants])

    def open(self) -> Draw:
        """Return what draws, for the tenants of the next requests, their lengths in tokens."""
        common = self._streams()
        own = [(group, *self._streams(1 + group)) for group in self._own]

        def draw(tenant: Tokens) -> tuple[Tokens, Tokens]:
            prompt, output = self._common.sample(*common, len(tenant))
            groups = self._group_of[tenant] if own else None
            for group, prompts, outputs in own:
                rows = np.flatnonzero(groups == group)
                lengths = self._own[group].sample(prompts, outputs, len(rows))
                prompt[rows], output[rows] = lengths
            return prompt, output

        return draw

    def _streams(self, *key: int) -> tuple[np.random.Generator, np.random.Generator]:
        return (
            stream(self._seed, Purpose.PROMPT_TOKENS, *key),
            stream(self._seed, Purpose.OUTPUT_TOKENS, *key),
        )
