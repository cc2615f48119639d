"""The phases of a request, in their order, and what they are called: they add up to its end-to-end
time."""

from __future__ import annotations

from typing import NamedTuple


class PhaseWords(NamedTuple):
    """A phase in words: the `label` of its part in a figure, and in a sentence what requests are
    `doing` meanwhile."""

    label: str
    doing: str


PHASE_WORDS = {
    "queue_s": PhaseWords("queue", "queueing"),
    "adapter_wait_s": PhaseWords("adapter wait", "waiting for adapters"),
    "prefill_s": PhaseWords("prefill", "prefill"),
    "decode_s": PhaseWords("decode", "decoding"),
    "preempted_s": PhaseWords("preempted", "being preempted"),
}
PHASES = tuple(PHASE_WORDS)
BEFORE_FIRST_TOKEN = PHASES[:3]
AFTER_IT = PHASES[3:]
