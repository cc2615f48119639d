"""Measured steps as rows of a linear problem: what each figure of the timing form is paid for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simlora.calibration.tables import Floats, Table
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.scenario.schema import Targets
from simlora.timing.parameters import StepParameters

# The figures that a step's duration is linear in, in the order in which they get the benefit of the
# doubt: of two that the data cannot tell apart, the one named first is fitted.
TERMS = (
    "fixed_s",
    "token_s",
    "adapter_s",
    "lora_step_s",
    "decode_attended_s",
    "sequence_s",
    "prefill_attended_s",
    "lora_token_s",
    "lora_slot_s",
    "lora_token_slot_s",
    "adapter_parameter_s",
    "lora_token_parameter_s",
    "scan_s",
)
# The two that are not: max(weights, token_compute * tokens).
DENSE = ("weights_s", "token_compute_s")


@dataclass(frozen=True, slots=True)
class Shapes:
    """Sizes of steps, one entry a step; the names are those of `BatchShape`."""

    tokens: Floats
    sequences: Floats
    decode_attended_tokens: Floats
    prefill_attended_tokens: Floats
    passed_over: Floats
    lora_tokens: Floats
    lora_token_parameters: Floats
    distinct_adapters: Floats
    distinct_adapter_parameters: Floats
    slots: Floats

    def matrix(self) -> Floats:
        """Of each step, what multiplies each of TERMS."""
        lora = (self.lora_tokens > 0).astype(np.float64)
        columns = {
            "fixed_s": np.ones_like(self.tokens),
            "token_s": self.tokens,
            "sequence_s": self.sequences,
            "decode_attended_s": self.decode_attended_tokens,
            "prefill_attended_s": self.prefill_attended_tokens,
            "scan_s": self.passed_over,
            "lora_step_s": lora,
            "lora_slot_s": lora * self.slots,
            "adapter_s": lora * self.distinct_adapters,
            "adapter_parameter_s": lora * self.distinct_adapter_parameters,
            "lora_token_s": self.lora_tokens,
            "lora_token_slot_s": self.lora_tokens * self.slots,
            "lora_token_parameter_s": self.lora_token_parameters,
        }
        return np.column_stack([columns[name] for name in TERMS])


@dataclass(frozen=True, slots=True)
class Rows:
    """Measurements to fit: `seconds` are to be `matrix` times TERMS, plus the dense projections,
    plus `offset_s`.

    A row may stand for many steps. So its tokens are a distribution: `token_share[i]` steps of row
    `token_row[i]` have `tokens[i]` tokens. `group` says which rows are repetitions of one another
    and must not part in a cross-validation.
    """

    matrix: Floats
    seconds: Floats
    offset_s: Floats
    weight: Floats
    tokens: Floats
    token_share: Floats
    token_row: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.seconds)

    def max_tokens(self, knee_tokens: float) -> Floats:
        """Of each row, the sum over its steps of max(knee, tokens)."""
        above = np.maximum(knee_tokens, self.tokens) * self.token_share
        return np.bincount(self.token_row, above, minlength=len(self)).astype(np.float64)

    def dense_s(self, weights_s: float, token_compute_s: float) -> Floats:
        """Of each row, the sum over its steps of max(weights, token_compute * tokens)."""
        if token_compute_s == 0:
            return weights_s * self.matrix[:, TERMS.index("fixed_s")]
        return token_compute_s * self.max_tokens(weights_s / token_compute_s)

    def predict(self, parameters: StepParameters) -> Floats:
        """Seconds of each row by these figures."""
        linear = self.matrix @ np.array([getattr(parameters, name) for name in TERMS])
        return (
            linear + self.dense_s(parameters.weights_s, parameters.token_compute_s) + self.offset_s
        )

    def take(self, kept: np.ndarray) -> Rows:
        """The rows where `kept` is true."""
        numbers = np.cumsum(kept) - 1
        entries = kept[self.token_row]
        return Rows(
            self.matrix[kept],
            self.seconds[kept],
            self.offset_s[kept],
            self.weight[kept],
            self.tokens[entries],
            self.token_share[entries],
            numbers[self.token_row[entries]],
            self.group[kept],
        )


def stack(parts: Sequence[Rows]) -> Rows:
    """All rows one after the other; those of equal shape are one group, also of different parts."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    matrix = np.vstack([part.matrix for part in parts])
    return Rows(
        matrix,
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.offset_s for part in parts]),
        np.concatenate([part.weight for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        np.concatenate([part.token_share for part in parts]),
        np.concatenate([p.token_row + s for p, s in zip(parts, starts, strict=False)]),
        _alike(matrix),
    )


def rows_of_steps(shapes: Shapes, seconds: Floats, weight: Floats) -> Rows:
    """One row a measured step; rows of equal shape are one group. Weights count relative to their
    mean."""
    matrix = shapes.matrix()
    count = len(seconds)
    return Rows(
        matrix,
        seconds,
        np.zeros(count),
        weight / weight.mean() if count else weight,
        shapes.tokens,
        np.ones(count),
        np.arange(count),
        _alike(matrix),
    )


def _alike(matrix: Floats) -> np.ndarray:
    """The number of the group of equal rows that each row is in."""
    return np.unique(matrix, axis=0, return_inverse=True)[1].reshape(-1)


def read_shapes(table: Table, model: ModelSpec | None, targets: Targets) -> Shapes:
    """The sizes in a table of steps, an adapter's parameters counted over `targets`. Raises
    UserError for rows that contradict themselves, and for ranks without a model to tell their
    parameters."""
    columns = table.columns

    def column(name: str) -> Floats:
        return columns.get(name, np.zeros(len(table)))

    decode_seqs, prefill_tokens = column("decode_seqs"), column("prefill_tokens")
    tokens = decode_seqs + prefill_tokens
    prefill_seqs = columns.get("prefill_seqs", (prefill_tokens > 0).astype(np.float64))
    attended = columns.get(
        "decode_attended_tokens",
        decode_seqs * (column("context_tokens") + 1) if "context_tokens" in columns else None,
    )
    distinct = column("distinct_adapters")
    lora_tokens = columns.get("lora_tokens", np.where(distinct > 0, tokens, 0.0))
    parameters = _parameters(table, column("rank"), model, targets)
    _refuse(table, tokens == 0, "the step has neither decode_seqs nor prefill_tokens")
    _refuse(table, lora_tokens > tokens, "lora_tokens are more than the tokens of the step")
    _refuse(
        table,
        distinct > lora_tokens,
        "distinct_adapters are more than the tokens that go through an adapter",
    )
    _refuse(
        table,
        (lora_tokens > 0) & (distinct == 0),
        "lora_tokens go through an adapter, but distinct_adapters is 0"
        if "distinct_adapters" in columns
        else "lora_tokens go through an adapter, but there is no column distinct_adapters",
    )
    _refuse(
        table,
        (column("slots") > 0) & (distinct > column("slots")),
        "distinct_adapters are more than slots, and a step cannot run an adapter without a slot",
    )
    if "rank" in columns:
        _refuse(table, (distinct > 0) & (column("rank") == 0), "the step has adapters of rank 0")
    _refuse(
        table,
        prefill_seqs > prefill_tokens,
        "prefill_seqs are more than prefill_tokens, but each computes a token at least",
    )
    _refuse(
        table,
        (prefill_seqs == 0) & (prefill_tokens > 0),
        "prefill_tokens belong to no prompt: prefill_seqs is 0",
    )
    if attended is not None:
        _refuse(
            table,
            attended < decode_seqs,
            "decode_attended_tokens is a sum over all decoding sequences, so it cannot be less "
            "than decode_seqs",
        )
    return Shapes(
        tokens=tokens,
        sequences=decode_seqs + prefill_seqs,
        decode_attended_tokens=attended if attended is not None else np.zeros(len(table)),
        prefill_attended_tokens=column("prefill_attended_tokens"),
        passed_over=column("passed_over"),
        lora_tokens=lora_tokens,
        lora_token_parameters=lora_tokens * parameters,
        distinct_adapters=distinct,
        distinct_adapter_parameters=distinct * parameters,
        slots=column("slots"),
    )


def _parameters(table: Table, rank: Floats, model: ModelSpec | None, targets: Targets) -> Floats:
    """Parameters of an adapter of each row's rank."""
    if not rank.any():
        return np.zeros(len(table))
    if model is None:
        raise UserError(f"{table.path}: column rank needs --model, to tell an adapter's parameters")
    by_rank = adapter_parameters(rank, model, targets)
    return np.array([by_rank[value] for value in rank])


def adapter_parameters(
    ranks: Iterable[float], model: ModelSpec, targets: Targets
) -> Mapping[float, int]:
    """Parameters of an adapter, by rank."""
    return {rank: model.lora_parameters(round(rank), targets) for rank in {float(r) for r in ranks}}


def _refuse(table: Table, wrong: np.ndarray, problem: str) -> None:
    if wrong.any():
        raise UserError(f"{table.place(int(wrong.argmax()))}: {problem}")
