"""LoRA: shrink and expand of a group of modules, and all that a whole decode step adds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from torch import Tensor

from kernels import torch_ops
from kernels.benchmark.adapters import Adapters, rank_text, segments, spread, tokens_of
from kernels.benchmark.baselines import adapter_loop, gather_bmm
from kernels.benchmark.case import Case, Prepared
from kernels.benchmark.device import empty_launches
from kernels.benchmark.plan import Setting
from kernels.benchmark.work import lora_step_work, lora_work
from kernels.lora_batch import LoraBatch
from kernels.shapes import GROUPS

STEP, DECODE, PREFILL = "lora_step", "lora_decode", "lora_prefill"
GATHER_BMM, LOOP, EMPTY = "gather_bmm", "loop", "empty_launches"


class LoraCases:
    """Makes cases. Keeps one set of adapters, so cases of the same ranks should follow each other.

    All sets have the plan's number of slots, and a step uses the first few: what is launched must
    suffice for any step, as in an engine's CUDA graphs.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._adapters = lru_cache(maxsize=1)(self._make_adapters)

    def steps(self) -> Iterator[Case]:
        """A decode step's LoRA in all layers, as one run."""
        for adapters in self._setting.plan.adapters:
            yield self._step(adapters)

    def compared(self) -> Iterator[Case]:
        """The groups of that step, with torch's ways beside them."""
        plan = self._setting.plan
        for adapters in plan.adapters:
            for group in GROUPS:
                ranks = self._uniform(plan.step_rank)
                yield self._group(group, plan.step_tokens, adapters, ranks, DECODE, compared=True)

    def decodes(self) -> Iterator[Case]:
        """All other groups of decode steps, those of mixed ranks last."""
        plan = self._setting.plan
        for rank in plan.ranks:
            for tokens in plan.decode_tokens:
                if (rank, tokens) != (plan.step_rank, plan.step_tokens):
                    yield from self._of_step(tokens, self._uniform(rank), DECODE, plan.adapters)
        mix = tuple(plan.mixed_ranks[slot % len(plan.mixed_ranks)] for slot in range(plan.slots))
        yield from self._of_step(plan.step_tokens, mix, DECODE, plan.adapters[1:])

    def prefills(self) -> Iterator[Case]:
        """Groups of steps of prefill."""
        plan = self._setting.plan
        for tokens in plan.prefill_tokens:
            ranks = self._uniform(plan.step_rank)
            yield from self._of_step(tokens, ranks, PREFILL, plan.prefill_adapters)

    def _of_step(
        self, tokens: int, ranks: tuple[int, ...], kind: str, adapters: Sequence[int]
    ) -> Iterator[Case]:
        for distinct in adapters:
            if distinct <= tokens:
                for group in GROUPS:
                    yield self._group(group, tokens, distinct, ranks, kind)

    def _uniform(self, rank: int) -> tuple[int, ...]:
        return (rank,) * self._setting.plan.slots

    def _make_adapters(self, ranks: tuple[int, ...], layers: int) -> Adapters:
        return Adapters(self._setting, ranks, layers)

    def _group(
        self,
        group: str,
        tokens: int,
        adapters: int,
        ranks: tuple[int, ...],
        kind: str,
        compared: bool = False,
    ) -> Case:
        """One layer's shrink and expand; the step's tokens have been sorted before."""
        setting, ops = self._setting, self._setting.ops
        slots = (segments if kind == PREFILL else spread)(tokens, adapters, setting.device)

        def prepare() -> Prepared:
            pool = self._adapters(ranks, 1)
            batch, own_batch = (self._batch(pool, tokens) for _ in range(2))
            x, y = self._activations(batch, group)
            ops.prepare_lora(slots, batch)
            torch_ops.prepare_lora(slots, own_batch)

            def run() -> None:
                ops.shrink(x, pool.pages, pool.tables, batch, 0, group)
                ops.expand(y, pool.pages, pool.tables, batch, 0, group)

            def reference() -> None:
                torch_ops.shrink(x, pool.pages, pool.tables, own_batch, 0, group)
                torch_ops.expand(y, pool.pages, pool.tables, own_batch, 0, group)

            baselines = {}
            if compared:
                stacks = pool.stacked(group, adapters)
                baselines[GATHER_BMM] = gather_bmm(x, y, stacks, slots)
                baselines[LOOP] = adapter_loop(x, y, stacks, slots)
            return Prepared(run, reference, [y], baselines)

        of_each = tokens_of(slots, adapters)
        used = ranks[:adapters]
        work = lora_work(setting.shape, group, used, of_each, setting.element_bytes)
        return Case(kind, group, work, prepare, tokens, adapters, rank_text(used))

    def _step(self, adapters: int) -> Case:
        """All layers, with weights and activations of their own, so that all come from memory."""
        setting, ops = self._setting, self._setting.ops
        ranks, tokens = self._uniform(setting.plan.step_rank), setting.plan.step_tokens
        layers = setting.shape.num_hidden_layers
        slots = spread(tokens, adapters, setting.device)
        of_each = tokens_of(slots, adapters)
        work = lora_step_work(setting.shape, ranks[:adapters], of_each, setting.element_bytes)

        def prepare() -> Prepared:
            pool = self._adapters(ranks, layers)
            batch, own_batch = (self._batch(pool, tokens) for _ in range(2))
            calls = [
                (layer, group, *self._activations(batch, group))
                for layer in range(layers)
                for group in GROUPS
            ]
            looked_at = [call for call in calls if call[0] in (0, layers - 1)]

            def run() -> None:
                ops.prepare_lora(slots, batch)
                for layer, group, x, y in calls:
                    ops.shrink(x, pool.pages, pool.tables, batch, layer, group)
                    ops.expand(y, pool.pages, pool.tables, batch, layer, group)

            def reference() -> None:
                torch_ops.prepare_lora(slots, own_batch)
                for layer, group, x, y in looked_at:
                    torch_ops.shrink(x, pool.pages, pool.tables, own_batch, layer, group)
                    torch_ops.expand(y, pool.pages, pool.tables, own_batch, layer, group)

            empty = empty_launches(setting.device, work.launches)
            outputs = [y for *_, y in looked_at]
            return Prepared(run, reference, outputs, untested={EMPTY: empty})

        rank = rank_text(ranks)
        return Case(STEP, f"{layers} layers", work, prepare, tokens, adapters, rank)

    def _batch(self, pool: Adapters, tokens: int) -> LoraBatch:
        device = self._setting.device
        return LoraBatch(tokens, len(pool.ranks), max(pool.ranks), pool.shape, device)

    def _activations(self, batch: LoraBatch, group: str) -> tuple[Tensor, Tensor]:
        cut, normal = batch.cuts[group], self._setting.normal
        return normal(batch.max_tokens, cut.inner), normal(batch.max_tokens, sum(cut.outer))
