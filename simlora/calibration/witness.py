"""Watches a simulated run: which steps its requests decoded in, and what those had to compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from simlora.calibration.design import Rows, Shapes
from simlora.calibration.tables import Floats
from simlora.results.recorder import Recorder
from simlora.results.steplog import StepLog
from simlora.scenario.deployment import Deployment
from simlora.serving.batch_shape import BatchShape
from simlora.timing import TimingModel
from simlora.timing.measured import MeasuredTiming

# What is kept of each step; `running` and `tokens` are sums over prefill and decode.
_KEPT = (
    "tokens",
    "running",
    "decode_seqs",
    "decode_attended_tokens",
    "prefill_attended_tokens",
    "passed_over",
    "lora_tokens",
    "lora_token_parameters",
    "distinct_adapters",
    "distinct_adapter_parameters",
)


class Witness(TimingModel):
    """Times steps as `timing` does and keeps their shapes in `seen`, in the order of time."""

    def __init__(self, timing: MeasuredTiming) -> None:
        self.timing = timing
        self.load = timing.load
        self.request_overhead_s = timing.request_overhead_s
        self.seen: list[tuple[int, ...]] = []

    def step(self, shape: BatchShape) -> float:
        self.seen.append(
            (
                shape.prefill_tokens + shape.decode_seqs,
                shape.prefill_seqs + shape.decode_seqs,
                shape.decode_seqs,
                shape.decode_attended_tokens,
                shape.prefill_attended_tokens,
                shape.passed_over,
                shape.lora_tokens,
                shape.lora_token_parameters,
                shape.distinct_adapters,
                shape.distinct_adapter_parameters,
            )
        )
        return self.timing.step(shape)

    def decode_growth_s(self, shape: BatchShape) -> float:
        return self.timing.decode_growth_s(shape)


class WatchingRecorder(Recorder):
    """Sums up the steps of the one replica, each as often as requests decoded in it.

    A request's time per output token is the sum of the steps it decoded in over its tokens. So the
    mean over all tokens is linear in the timing form's figures, with the sums kept here.
    """

    def __init__(self, deployment: Deployment, directory: Path, *, warmup_s: float) -> None:
        super().__init__(deployment, directory, warmup_s=warmup_s)
        self.witness: Witness | None = None
        self.ranges: dict[str, tuple[float, float]] = {}
        self._decoding = 0  # requests that decode on from the last flush
        self._forget()

    def flush(self) -> None:
        for log in self.steps:
            self._watch(log)
        super().flush()

    def restart(self) -> None:
        """Sum up from here on only: what went before is not typical of the run."""
        self.flush()
        self._forget()

    def _forget(self) -> None:
        self._tokens_made = 0.0
        self._seconds = 0.0
        self._matrix: Floats | None = None
        self._by_tokens = np.zeros(0)  # decoding requests by the tokens of their step

    def row(self) -> Rows | None:
        """The mean time per output token of the run as a row to fit; None if nobody decoded.

        What the timing form does not pay for (loads that block a step) is the offset.
        """
        if self._matrix is None or not self._tokens_made or self.witness is None:
            return None
        made = self._tokens_made
        tokens = np.flatnonzero(self._by_tokens)
        row = Rows(
            matrix=self._matrix[None, :] / made,
            seconds=np.array([self._seconds / made]),
            offset_s=np.zeros(1),
            weight=np.ones(1),
            tokens=tokens.astype(np.float64),
            token_share=self._by_tokens[tokens] / made,
            token_row=np.zeros(len(tokens), dtype=np.int64),
            group=np.zeros(1, dtype=np.int64),
        )
        row.offset_s[:] = row.seconds - row.predict(self.witness.timing.parameters)
        return row

    def _watch(self, log: StepLog) -> None:
        count = len(log.step_s)
        if not count or self.witness is None:
            return
        # The step in flight has been timed, but is not in the log.
        seen = np.array(self.witness.seen[:count], dtype=np.float64)
        del self.witness.seen[:count]
        decoding = self._decoding_requests(log, count)
        steps = np.array(log.steps, dtype=np.float64)
        self._tokens_made += float(decoding @ steps)
        lasted = np.maximum(steps, 1.0)  # a step in which decodes pause takes its time as well
        weight = decoding * lasted
        self._seconds += float(weight @ np.array(log.step_s))
        sizes = dict(zip(_KEPT, seen.T, strict=True))
        self._widen(sizes, sizes["decode_seqs"] * (lasted - 1))
        sizes["decode_attended_tokens"] += sizes["decode_seqs"] * (lasted - 1) / 2
        matrix = weight @ self._shapes(sizes, self.witness.timing).matrix()
        self._matrix = matrix if self._matrix is None else self._matrix + matrix
        by_tokens = np.bincount(sizes["tokens"].astype(np.int64), weight).astype(np.float64)
        longest = max(len(by_tokens), len(self._by_tokens))
        self._by_tokens = _padded(by_tokens, longest) + _padded(self._by_tokens, longest)

    def _decoding_requests(self, log: StepLog, count: int) -> Floats:
        change = np.zeros(count + 1)
        change[0] = self._decoding
        change += _counts(log.decode_starts, count) - _counts(log.decode_ends, count)
        decoding = np.cumsum(change)
        self._decoding = int(decoding[-1])
        return decoding[:count]

    def _widen(self, sizes: dict[str, Floats], grown_tokens: Floats) -> None:
        """`grown_tokens`: by how much the last step of each run attends more than the first."""
        features = {
            "running": sizes["running"],
            "tokens": sizes["tokens"],
            "attended_tokens": sizes["decode_attended_tokens"],
            "distinct_adapters": sizes["distinct_adapters"],
            "passed_over": sizes["passed_over"],
        }
        for name, values in features.items():
            last = values + grown_tokens if name == "attended_tokens" else values
            low, high = self.ranges.get(name, (np.inf, 0.0))
            self.ranges[name] = (min(low, float(values.min())), max(high, float(last.max())))

    @staticmethod
    def _shapes(sizes: dict[str, Floats], timing: MeasuredTiming) -> Shapes:
        token_parameters = sizes["lora_token_parameters"]
        adapter_parameters = sizes["distinct_adapter_parameters"]
        if timing.padded_parameters is not None:
            token_parameters = sizes["lora_tokens"] * timing.padded_parameters
            adapter_parameters = sizes["distinct_adapters"] * timing.padded_parameters
        return Shapes(
            tokens=sizes["tokens"],
            sequences=sizes["running"],
            decode_attended_tokens=sizes["decode_attended_tokens"],
            prefill_attended_tokens=sizes["prefill_attended_tokens"],
            passed_over=sizes["passed_over"],
            lora_tokens=sizes["lora_tokens"],
            lora_token_parameters=token_parameters,
            distinct_adapters=sizes["distinct_adapters"],
            distinct_adapter_parameters=adapter_parameters,
            slots=np.full(len(sizes["tokens"]), float(timing.slots)),
        )


def _counts(indexes: Sequence[Sequence[int]], count: int) -> Floats:
    flat = np.array([index for of_tier in indexes for index in of_tier], dtype=np.int64)
    return np.bincount(flat, minlength=count + 1).astype(np.float64)


def _padded(values: Floats, length: int) -> Floats:
    return np.concatenate([values, np.zeros(length - len(values))])
