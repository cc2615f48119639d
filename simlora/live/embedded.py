"""simlora's own engine as a live run uses it: model, pool, and adapters on their way to it.

The one module of the package that needs torch; it is imported when a run begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kernels.lora_stream import LoraModule, PackedAdapter, pack_adapter, stream_pages
from kernels.pool import DevicePool
from kernels.shapes import MODULES, ModelShape
from kernels.tables import AdapterTables
from kernels.upload import StreamUploads, Uploads
from simlora.engine.adapters import load_adapter, save_adapter
from simlora.engine.bench import check_device, device_facts, free_bytes
from simlora.engine.checkpoint import load_checkpoint
from simlora.engine.engine import Engine, Limits
from simlora.engine.random_adapter import random_adapter
from simlora.engine.sampling import Sampling
from simlora.engine.shape import shape_of
from simlora.engine.step_inputs import SequenceStep
from simlora.engine.weights import ModelWeights, random_weights
from simlora.errors import UserError
from simlora.live.mirror import Part
from simlora.live.registered import model_folder, modules_of
from simlora.scenario.catalog import ModelSpec
from simlora.scenario.deployment import Adapter, Deployment
from simlora.serving.memory import MemoryPlan
from simlora.serving.page_pool import KV, PagePool

__all__ = ["Embedded", "PackedAdapter", "Sampling", "default_device"]

Copies = dict[int, Future[None]]  # under way, by slot

USABLE = 0.9  # of the memory that is free: the rest is for activations and whoever else is there


def default_device() -> str:
    """The GPU if there is one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


class Embedded:
    """The engine, and a pool as large as the memory plan says. A model that is a folder has the
    weights that lie there; others have random ones, and are not `trained`. `folder` is a model's
    folder, None for one of the catalog.

    Raises UserError if the device is not there or its memory does not suffice.
    """

    def __init__(self, deployment: Deployment, plan: MemoryPlan, device: str) -> None:
        check_device(device)
        scenario = deployment.scenario
        self.device = torch.device(device)
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        if device == "cpu":
            _one_thread()  # as calibrate measures it
        self.folder = model_folder(deployment, plan.pool_index)
        model = deployment.models[plan.pool_index]
        self.shape = self._shape(model)
        self._targets = {
            adapter.index: modules_of(deployment, adapter)
            for adapter in deployment.served_by(plan.pool_index)
        }
        self.name = f"simlora engine on {device_facts(device)['device']}"
        served = deployment.served_by(plan.pool_index)
        self._adapters = {adapter.index: adapter for adapter in served}
        ranks = [adapter.rank for adapter in served]
        largest = max((self.pages_of(adapter) for adapter in served), default=1)
        resident, beside = len(served), 0
        if not plan.unified:
            assert plan.max_hot_adapters is not None
            resident, beside = plan.max_hot_adapters, plan.max_hot_adapters * largest
        pages = plan.pool_pages + beside
        self._check_room(model, pages, beside)
        weights, self.trained = self._weights(model, scenario.seed)
        # Each thread has a count of its own of the threads that its operators may use.
        self.compute = ThreadPoolExecutor(1, "engine", initializer=_one_thread)
        self.threads = ThreadPoolExecutor(3, "adapters", initializer=_one_thread)
        self._copies: Copies = {}  # by slot, until somebody asks for them
        uploads = _StreamCopies if self.device.type == "cuda" else _ThreadCopies
        self.pool = DevicePool(
            self.shape,
            PagePool(pages),
            block_tokens=plan.block_tokens,
            adapters=max(1, min(resident, len(served))),
            max_adapter_pages=largest,
            max_rank=max(ranks, default=1),
            dtype=self.dtype,
            device=self.device,
            uploads=partial(uploads, threads=self.threads, copies=self._copies),
        )
        engine = scenario.engine
        tokens = engine.max_num_batched_tokens
        if not engine.scheduler.chunked_prefill:
            tokens = max(tokens, plan.max_model_len)
        limits = Limits(
            max_num_seqs=engine.max_num_seqs,
            max_num_batched_tokens=tokens + engine.max_num_seqs,
            max_model_len=plan.max_model_len,
            max_rank=max(ranks, default=1),
        )
        self.engine = Engine(self.shape, weights, self.pool, limits)

    def _shape(self, model: ModelSpec) -> ModelShape:
        try:
            return shape_of(model)
        except UserError:
            if self.folder is not None:  # says the same, and in which file; it allocates nothing
                load_checkpoint(self.folder, self.dtype, self.device)
            raise

    def _weights(self, model: ModelSpec, seed: int) -> tuple[ModelWeights, bool]:
        if self.folder is not None:
            loaded = load_checkpoint(self.folder, self.dtype, self.device, seed=seed)
            return loaded.weights, loaded.trained
        tied = model.tie_word_embeddings
        return random_weights(self.shape, self.dtype, self.device, tied=tied, seed=seed), False

    def _check_room(self, model: ModelSpec, pages: int, beside: int) -> None:
        """Raises UserError unless the weights and a pool of so many pages, of which `beside` are
        for adapters alone, find room."""
        element = torch.empty(0, dtype=self.dtype).element_size()
        free, weights = USABLE * free_bytes(self.device.type), model.parameters * element
        page_bytes = self.shape.kv_dim * element
        if weights >= free:
            raise UserError(
                f"model.name: the weights of {model.name} take {weights / 2**30:.1f} GiB in "
                f"{str(self.dtype).removeprefix('torch.')}, but {free / 2**30:.1f} GiB are free "
                "here; choose a smaller model"
            )
        room = int(free - weights) // page_bytes
        if pages > room:
            gib = page_bytes / 2**30
            tokens = max(0, room - beside) // (2 * self.shape.num_hidden_layers)
            raise UserError(
                f"engine.memory: the scenario's pool of {pages * gib:.1f} GiB does not fit into "
                f"the {room * gib:.1f} GiB that are free here beside the model; set "
                f"engine.memory.kv_cache_tokens to less than {tokens}"
            )

    def close(self) -> None:
        """Wait for what is under way."""
        self.compute.shutdown(wait=True)
        self.threads.shutdown(wait=True)

    # --- steps --------------------------------------------------------------------------

    def run(
        self,
        decodes: Sequence[Part],
        prefills: Sequence[Part],
        sampling: Sequence[Sampling | None] = (),
    ) -> list[int]:
        """Compute a step and return the next token of each sequence, decodes first, chosen as
        `sampling` says: where it says nothing, the likeliest. Waits for the device."""
        steps = [SequenceStep(*part) for part in (*decodes, *prefills)]
        for step, chosen in zip(steps, sampling, strict=False):
            step.sampling = chosen
        following: list[int] = self.engine.run(
            steps[: len(decodes)], steps[len(decodes) :]
        ).tolist()
        return following

    def warm_up(self, adapter: Adapter | None) -> None:
        """Have kernels compiled, graphs captured and buffers made before anybody waits for it: for
        decodes of each size, a short prompt and the largest chunk, without an adapter and with
        one."""
        slots = [-1]
        if adapter is not None:
            drawn = self._drawn(adapter, 0)
            slot, copied = self.upload(pack_adapter(self.shape, drawn, self.dtype))
            copied.result()
            slots.append(slot)
        limits, pool = self.engine.limits, self.pool
        room = pool.accounts.free // pool.pages_per_block
        one = np.zeros(1, dtype=np.int32)
        sizes = {1 << power for power in range(limits.max_num_seqs.bit_length())}
        for slot in slots:
            for size in sorted(size for size in sizes if size <= min(limits.max_num_seqs, room)):
                blocks = pool.take_blocks(size, KV)
                self.run([(one, 0, blocks[row : row + 1], slot) for row in range(size)], [])
                pool.release_blocks(blocks, KV)
            most = min(
                limits.max_model_len, limits.max_num_batched_tokens, room * pool.block_tokens
            )
            for tokens in (min(pool.block_tokens, most), most):
                blocks = pool.take_blocks(-(-tokens // pool.block_tokens), KV)
                self.run([], [(np.zeros(tokens, dtype=np.int32), 0, blocks, slot)])
                pool.release_blocks(blocks, KV)
        for slot in slots[1:]:
            pool.unload(slot)

    # --- adapters -----------------------------------------------------------------------

    def pages_of(self, adapter: Adapter) -> int:
        """Pages that an adapter takes in the pool."""
        ranks = np.zeros((self.shape.num_hidden_layers, len(MODULES)), dtype=np.int64)
        for module in self._targets[adapter.index]:
            ranks[:, MODULES.index(module)] = adapter.rank
        return stream_pages(self.shape, ranks)

    def check_fits(self, index: int, packed: PackedAdapter) -> None:
        """Raises UserError if an adapter is of another size than memory was planned for."""
        adapter = self._adapters[index]
        pages, planned = len(packed.pages), self.pages_of(adapter)
        if pages != planned:
            raise UserError(
                f"adapter {adapter.name} has {pages} pages, but one of rank {adapter.rank} with "
                f"the scenario's targets has {planned}"
            )

    def write(self, folder: Path, adapter: Adapter, seed: int) -> None:
        """Make an adapter's files, with random weights in bf16."""
        save_adapter(folder, self._drawn(adapter, seed), torch.bfloat16)

    def _drawn(self, adapter: Adapter, seed: int) -> dict[tuple[int, str], LoraModule]:
        modules = self._targets[adapter.index]
        return random_adapter(self.shape, adapter.rank, modules=modules, seed=seed)

    def read(self, folder: Path) -> PackedAdapter:
        """An adapter from its files, packed for the pool. Raises UserError if they are damaged."""
        loaded = load_adapter(folder, self.shape, self.dtype, max_rank=self.pool.max_rank)
        return pack_adapter(self.shape, loaded.weights, self.dtype)

    def upload(self, packed: PackedAdapter) -> tuple[int, Future[None]]:
        """Give an adapter its pages and begin its copy. Returns its slot, and what is done when the
        copy is."""
        slot = self.pool.load(packed)
        return slot, self._copies.pop(slot)

    def copy_down(self, slot: int) -> PackedAdapter:
        """A copy in host memory of a resident adapter."""
        tables, pool = self.pool.tables, self.pool
        pages = torch.from_numpy(pool.pages_of(slot)).to(self.device)
        copied = pool.pages[pages.long()].cpu()
        parts = [copied, *(t[slot].cpu() for t in (tables.base, tables.rank, tables.scale))]
        # Clones, for what is on the CPU already is the table's own row.
        return PackedAdapter(*(p.pin_memory() if pool.pages.is_cuda else p.clone() for p in parts))


class _ThreadCopies(Uploads):
    """On a CPU, copies made by a thread beside the step that is computing. `copies` is told, by
    slot, what is done when they are."""

    def __init__(
        self, pages: Tensor, tables: AdapterTables, threads: ThreadPoolExecutor, copies: Copies
    ) -> None:
        super().__init__(pages, tables)
        self._copies, self._threads = copies, threads
        self._running: Copies = {}

    def start(self, slot: int, page_ids: Tensor, packed: PackedAdapter) -> None:
        begun = self._threads.submit(super().start, slot, page_ids, packed)
        self._copies[slot] = self._running[slot] = begun

    def done(self, slot: int) -> bool:
        return slot not in self._running or self._running[slot].done()

    def wait(self, slot: int) -> None:
        if (running := self._running.get(slot)) is not None:
            running.result()


class _StreamCopies(StreamUploads):
    """On a GPU, copies on the pool's stream, and threads that wait for their ends. `copies` is told
    these, by slot."""

    def __init__(
        self, pages: Tensor, tables: AdapterTables, threads: ThreadPoolExecutor, copies: Copies
    ) -> None:
        super().__init__(pages, tables)
        self._copies, self._threads = copies, threads

    def start(self, slot: int, page_ids: Tensor, packed: PackedAdapter) -> None:
        super().start(slot, page_ids, packed)
        self._copies[slot] = self._threads.submit(self._running[slot].synchronize)


def _one_thread() -> None:
    torch.set_num_threads(1)
