"""How long the engine's steps and an adapter's way to the device take, measured.

Everything that touches the device is here; which sizes to measure, and what to make of the times,
is calibration's.
"""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kernels.lora_stream import PackedAdapter, pack_adapter, stream_pages
from kernels.pool import DevicePool
from kernels.shapes import MODULES
from simlora.engine.adapters import WEIGHTS, load_adapter, save_adapter
from simlora.engine.engine import Engine, Limits
from simlora.engine.random_adapter import random_adapter
from simlora.engine.shape import shape_of
from simlora.engine.step_inputs import SequenceStep
from simlora.engine.weights import random_weights
from simlora.errors import UserError
from simlora.scenario.catalog import ModelSpec
from simlora.serving.batch_shape import BatchShape
from simlora.serving.page_pool import KV, PagePool

WARM_UP = 2
LEAST_REPEATS, MOST_REPEATS = 5, 25
# A measurement is repeated until it has lasted so long, within these bounds.
LONG_ENOUGH_S = 0.25
FLUSH_BYTES = 256 * 2**20  # more than any GPU's L2 cache


@dataclass(frozen=True, slots=True)
class StepSize:
    """A step to measure: `decodes` sequences that hold `context_tokens` on average, and `prefills`
    chunks of `chunk_tokens` after `chunk_start` computed ones. `ranks`: of its distinct adapters,
    which take turns over the sequences; none: the base model."""

    decodes: int
    context_tokens: int = 0
    prefills: int = 0
    chunk_tokens: int = 0
    chunk_start: int = 0
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of repeated measurements."""

    median_s: float
    p10_s: float
    p90_s: float
    repeats: int


class Bench:
    """The engine with random weights on a device, and room for the `sizes` to measure.

    Raises UserError if the device is not there. Its memory has to suffice (see `free_bytes`).
    """

    def __init__(
        self, model: ModelSpec, device: str, tensor_parallel: int, sizes: list[StepSize]
    ) -> None:
        check_device(device)
        self.device = torch.device(device)
        if device == "cpu":
            torch.set_num_threads(1)  # so that a step's time does not depend on who else is busy
        self.dtype = torch.bfloat16 if device == "cuda" else torch.float32
        # How positions are turned is not to be seen in times, so any way is measured.
        plain = model.model_copy(update={"rope_scaling": None})
        self.shape = shape_of(plain, tensor_parallel)
        self._model = model
        weights = random_weights(
            self.shape, self.dtype, self.device, tied=model.tie_word_embeddings
        )
        wanted = Counter[int]()
        for size in sizes:
            wanted |= Counter(size.ranks)
        max_rank = max(wanted, default=1)
        adapter_pages = {rank: stream_pages(self.shape, self._ranks(rank)) for rank in wanted}
        adapters = sum(adapter_pages[rank] * count for rank, count in wanted.items())
        block_tokens = 16
        tokens = max(_tokens_held(size, block_tokens) for size in sizes)
        pages = adapters + tokens * 2 * self.shape.num_hidden_layers
        self.pool = DevicePool(
            self.shape,
            PagePool(pages),
            block_tokens=block_tokens,
            adapters=max(1, sum(wanted.values())),
            max_adapter_pages=max(adapter_pages.values(), default=1),
            max_rank=max_rank,
            dtype=self.dtype,
            device=self.device,
        )
        self.pool.pages.normal_()  # no NaN and no denormals in what is read
        limits = Limits(
            max_num_seqs=max(size.decodes + size.prefills for size in sizes),
            max_num_batched_tokens=max(
                size.decodes + size.prefills * size.chunk_tokens for size in sizes
            ),
            max_model_len=max(
                max(2 * size.context_tokens, size.chunk_start + size.chunk_tokens) for size in sizes
            )
            + block_tokens,
            max_rank=max_rank,
        )
        self.engine = Engine(self.shape, weights, self.pool, limits)
        self._slots: dict[int, list[int]] = {
            rank: [self.pool.load(packed) for packed in [self.packed(rank)] * count]
            for rank, count in sorted(wanted.items())
        }
        self._flush = torch.empty(
            FLUSH_BYTES // 4 if device == "cuda" else 0, dtype=torch.float32, device=self.device
        )

    # --- steps --------------------------------------------------------------------------

    def step(self, size: StepSize) -> tuple[BatchShape, Times]:
        """Measure a step: from the scheduler's word to the next tokens on the host."""
        generator = np.random.default_rng(0)
        taken = Counter[int]()
        adapters: list[tuple[int, int]] = []  # slot and rank
        for rank in size.ranks:
            adapters.append((self._slots[rank][taken[rank]], rank))
            taken[rank] += 1
        shape = BatchShape(prefill_seqs=size.prefills, decode_seqs=size.decodes)
        used = set[tuple[int, int]]()
        sequences = []
        for number in range(size.decodes + size.prefills):
            decoding = number < size.decodes
            if decoding:
                # Sequences of different lengths, as in any real batch.
                context = max(1, round(size.context_tokens * generator.uniform(0.5, 1.5)))
                position, count = context - 1, 1
                shape.decode_attended_tokens += context
            else:
                position, count = size.chunk_start, size.chunk_tokens
                shape.prefill_tokens += count
                shape.prefill_attended_tokens += count * position + count * (count + 1) // 2
            slot = -1
            if adapters:
                slot, rank = adapters[number % len(adapters)]
                used.add((slot, rank))
                shape.lora_tokens += count
                shape.lora_token_parameters += count * self._parameters(rank)
            tokens = generator.integers(0, self.shape.vocab_size, count, dtype=np.int32)
            blocks = -(-(position + count) // self.pool.block_tokens)
            sequences.append(
                SequenceStep(tokens, position, self.pool.take_blocks(blocks, KV), slot)
            )
        shape.distinct_adapters = len(used)
        shape.distinct_adapter_parameters = sum(self._parameters(rank) for _, rank in used)
        decodes, prefills = sequences[: size.decodes], sequences[size.decodes :]
        try:
            return shape, self._repeat(lambda: self.engine.run(decodes, prefills))
        finally:
            for sequence in sequences:
                self.pool.release_blocks(sequence.blocks, KV)

    def _repeat(
        self, step: Callable[[], object], before: Callable[[], object] = lambda: None
    ) -> Times:
        """Time `step`, with `before` and a cold cache ahead of each run.

        A processor is left alone for as long as a step takes, as in a server at half load: its
        clock, and what a shared host gives it, depend on how busy it is, so that steps without a
        pause between them are measured up to a third too quick.
        """
        for _ in range(WARM_UP):
            before()
            step()
        seconds: list[float] = []
        while len(seconds) < LEAST_REPEATS or (
            sum(seconds) < LONG_ENOUGH_S and len(seconds) < MOST_REPEATS
        ):
            before()
            if self.device.type == "cpu" and seconds:
                time.sleep(seconds[-1])
            # Reading empties the cache of what a step could find; writing would leave it the work
            # of writing back.
            self._flush.sum()
            self._wait()
            start = time.perf_counter()
            step()
            self._wait()
            seconds.append(time.perf_counter() - start)
        deciles = statistics.quantiles(seconds, n=10)
        return Times(statistics.median(seconds), deciles[0], deciles[-1], len(seconds))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # --- an adapter's way ---------------------------------------------------------------

    def packed(self, rank: int) -> PackedAdapter:
        """A random adapter of this rank on all modules, ready to be copied."""
        return pack_adapter(self.shape, random_adapter(self.shape, rank), self.dtype)

    def copies(self, rank: int, folder: Path) -> dict[str, tuple[int, Times]]:
        """Bytes and times of an adapter's way: `upload` from packed host memory to its pages,
        `pinned` and `pageable` a plain copy of as many bytes, `file` from a PEFT file that was
        just written (so mostly from the page cache) to packed memory."""
        packed = self.packed(rank)
        nbytes = packed.pages.numel() * packed.pages.element_size()
        held: list[int] = []

        def upload() -> None:
            held.append(self.pool.load(packed))
            self.pool.wait(held)

        def make_room() -> None:
            while held:
                self.pool.unload(held.pop())
            self._wait()

        found: dict[str, tuple[int, Times]] = {}
        freed = self._slots[rank].pop()  # of the same size, so that there is room
        self.pool.unload(freed)
        found["upload"] = nbytes, self._repeat(upload, make_room)
        make_room()
        self._slots[rank].append(self.pool.load(packed))
        if self.device.type == "cuda":
            target = torch.empty_like(packed.pages, device=self.device)
            pageable = packed.pages.clone()
            for name, source in (("pinned", packed.pages), ("pageable", pageable)):
                found[name] = (
                    nbytes,
                    self._repeat(lambda source=source: target.copy_(source, non_blocking=True)),  # type: ignore[misc]
                )
        files = folder / f"rank{rank}"
        save_adapter(files, random_adapter(self.shape, rank), self.dtype)

        def read() -> None:
            weights = load_adapter(files, self.shape, self.dtype).weights
            pack_adapter(self.shape, weights, self.dtype)

        found["file"] = (files / WEIGHTS).stat().st_size, self._repeat(read)
        shutil.rmtree(files)
        return found

    def _ranks(self, rank: int) -> np.ndarray:
        return np.full((self.shape.num_hidden_layers, len(MODULES)), rank, dtype=np.int64)

    def _parameters(self, rank: int) -> int:
        """As a scenario counts them: of the whole adapter, whatever one GPU holds of it."""
        return self._model.lora_parameters(rank, "all-linear")


def _tokens_held(size: StepSize, block_tokens: int) -> int:
    """Tokens of KV cache that a step's sequences may take, whole blocks each."""
    decode = 1.5 * size.context_tokens + block_tokens
    prefill = size.chunk_start + size.chunk_tokens + block_tokens
    return int(size.decodes * decode + size.prefills * prefill) + block_tokens


def check_device(device: str) -> None:
    """Raises UserError if there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "--device cuda: torch sees no GPU here; --device cpu measures the CPU, --from "
            "FILE takes measurements from elsewhere"
        )


def device_facts(device: str) -> dict[str, str]:
    """What measured times belong to: device, driver and versions."""
    facts = {"device": _processor(), "torch": torch.__version__}
    if device == "cpu":
        facts |= {"threads": "1", "dtype": "float32", "load": "half"}
    if device == "cuda" and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        import triton

        facts |= {
            "device": properties.name,
            "memory_gib": f"{properties.total_memory / 2**30:.2f}",
            "driver": _driver_version(),
            "cuda": str(torch.version.cuda),
            "triton": triton.__version__,
        }
    return facts


def free_bytes(device: str) -> int:
    """Memory that could be had now, on the device or, for the CPU, in the host."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _processor() -> str:
    """The host's processor by its full name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _driver_version() -> str:
    """Of NVIDIA's driver, which torch does not tell."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()
