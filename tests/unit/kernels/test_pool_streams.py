"""Uploads and steps, on two streams, never touch a page at the same time.

Each claim is tested on simulated streams, whose work is put off and then done in the order that
would show a missing wait, and on real ones where there is a GPU.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

import kernels.pool
import kernels.upload
from kernels.accounts import KV
from kernels.lora_stream import LoraModule, PackedAdapter, pack_adapter
from kernels.pool import DevicePool
from kernels.shapes import ModelShape
from simlora.serving.page_pool import PagePool

SHAPE = ModelShape(
    hidden_size=256,
    intermediate_size=512,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    vocab_size=32,
)
INNER, OUTER = SHAPE.linear_shapes["down_proj"]
ADAPTER_PAGES = (INNER + OUTER) // SHAPE.kv_dim
BLOCK_TOKENS = ADAPTER_PAGES // 2  # a block takes as many pages as an adapter


def constant_adapter(value: float) -> PackedAdapter:
    """An adapter of one row of A and B, all elements alike."""
    a, b = torch.full((1, INNER), value), torch.full((OUTER, 1), value)
    return pack_adapter(SHAPE, {(0, "down_proj"): LoraModule(a, b, 1.0)}, torch.float16)


# Packed before any test begins to simulate streams.
ONES, TWOS = constant_adapter(1.0), constant_adapter(2.0)


class SimulatedEvent:
    """Set when its stream gets there."""

    def __init__(self) -> None:
        self.reached = False

    def query(self) -> bool:
        return self.reached


class SimulatedStream:
    """Work that is put off. An event in it holds up what follows until it is reached."""

    def __init__(self, _device: Any = None) -> None:
        self.work: deque[Callable[[], Any] | SimulatedEvent] = deque()

    def record_event(self) -> SimulatedEvent:
        event = SimulatedEvent()
        self.work.append(lambda: setattr(event, "reached", True))
        return event

    def wait_event(self, event: SimulatedEvent) -> None:
        self.work.append(event)

    def wait_stream(self, other: SimulatedStream) -> None:
        self.wait_event(other.record_event())

    def advance(self) -> bool:
        """Do one piece of work. Returns whether there was one that could be done."""
        if not self.work:
            return False
        item = self.work[0]
        if isinstance(item, SimulatedEvent):
            if not item.reached:
                return False
        else:
            item()
        self.work.popleft()
        return True


class SimulatedStreams:
    """Stands in for torch.cuda: tensors lie on the CPU, and their copies on the current stream."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compute: Any = SimulatedStream()
        self.current = self.compute
        self.later: Callable[..., Any] = lambda work: self.current.work.append(work)
        real = {name: getattr(Tensor, name) for name in ("copy_", "index_copy_")}

        def put_off(name: str) -> Callable[..., Tensor]:
            def method(self_: Tensor, *args: Any, **kwargs: Any) -> Tensor:
                self.later(lambda: real[name](self_, *args, **kwargs))
                return self_

            return method

        def long(tensor: Tensor) -> Tensor:
            return torch.empty(tensor.shape, dtype=torch.int64).copy_(tensor)

        for name in real:
            monkeypatch.setattr(Tensor, name, put_off(name))
        monkeypatch.setattr(Tensor, "long", long)
        monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
        monkeypatch.setattr(torch.cuda, "Stream", SimulatedStream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: self.current)
        monkeypatch.setattr(torch.cuda, "stream", self._use)
        monkeypatch.setattr(kernels.pool, "Uploads", kernels.upload.StreamUploads)

    @contextmanager
    def _use(self, stream: SimulatedStream) -> Iterator[None]:
        outer, self.current = self.current, stream
        yield
        self.current = outer

    def delay(self, stream: Any) -> None:
        """Work put off needs no delay."""

    def read(self, pages: Tensor, slot_row: Tensor) -> Callable[[], Tensor]:
        """A step that reads an adapter's pages. Returns how to see what it has read."""
        seen: list[Tensor] = []
        self.later(lambda: seen.append(pages[slot_row.to(torch.int64)].clone()))
        return lambda: seen[0]

    def long_step(self) -> SimulatedEvent:
        """A step that does not end. Returns its end."""
        event = SimulatedEvent()
        self.compute.wait_event(event)
        return event

    def settle(self, *streams: SimulatedStream, until: Callable[[], bool] = bool) -> None:
        """Do what can be done, each time in the first of the streams that can go on."""
        while not until() and any(stream.advance() for stream in streams):
            pass

    def finish(self, *streams: SimulatedStream) -> None:
        """Do all the work, that of the first stream as early as its waits allow."""
        self.settle(*streams)
        assert not any(stream.work for stream in streams), "streams that wait for each other"


class CudaStreams:
    """The real thing, with delays that make a missing wait show."""

    def __init__(self) -> None:
        self.compute: Any = torch.cuda.current_stream()

    def delay(self, stream: torch.cuda.Stream) -> None:
        """Some 50 ms."""
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)

    def read(self, pages: Tensor, slot_row: Tensor) -> Callable[[], Tensor]:
        """A step that reads an adapter's pages. Returns how to see what it has read."""
        seen = pages[slot_row.long()]
        return seen.cpu

    def long_step(self) -> torch.cuda.Event:
        """A step of some 50 ms. Returns its end."""
        self.delay(self.compute)
        return self.compute.record_event()

    def settle(self, *streams: torch.cuda.Stream, until: Callable[[], bool] = bool) -> None:
        """Wait for the work of the first stream."""
        streams[0].synchronize()
        assert until is bool or until()

    def finish(self, *streams: torch.cuda.Stream) -> None:
        """Wait for all the work; the hardware has chosen its order."""
        torch.cuda.synchronize()


Streams = SimulatedStreams | CudaStreams


@pytest.fixture(params=["simulated", "cuda"])
def streams(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Streams:
    monkeypatch.setattr(kernels.upload, "STAGING_BYTES", 5 * SHAPE.kv_dim * 2)  # several pieces
    if request.param == "simulated":
        return SimulatedStreams(monkeypatch)
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return CudaStreams()


def small_pool(streams: Streams, adapters: int) -> tuple[DevicePool, Any]:
    """A pool for that many adapters, and its upload stream."""
    pool = DevicePool(
        SHAPE,
        PagePool(adapters * ADAPTER_PAGES),
        block_tokens=BLOCK_TOKENS,
        adapters=adapters,
        max_adapter_pages=ADAPTER_PAGES,
        dtype=torch.float16,
        device=torch.device("cuda" if isinstance(streams, CudaStreams) else "cpu"),
    )
    assert isinstance(pool._uploads, kernels.upload.StreamUploads)
    return pool, pool._uploads._stream


def all_are(tensor: Tensor, value: float) -> bool:
    return bool((tensor.cpu() == value).all())


def test_an_adapter_is_ready_when_its_copy_has_ended(streams: Streams) -> None:
    pool, uploads = small_pool(streams, adapters=2)
    streams.delay(uploads)
    slots = [pool.load(adapter) for adapter in (ONES, TWOS)]
    assert not any(map(pool.ready, slots))
    streams.settle(uploads, streams.compute, until=lambda: all(map(pool.ready, slots)))
    for slot, value in zip(slots, (1.0, 2.0), strict=True):
        assert all_are(pool.pages[pool.tables.page[slot].to(torch.int64)], value)
        assert pool.tables.rank[slot].sum() == 1


def test_an_adapter_is_copied_beside_a_step_that_is_given_later(streams: Streams) -> None:
    pool, uploads = small_pool(streams, adapters=1)
    slot = pool.load(ONES)
    step = streams.long_step()
    streams.settle(uploads, streams.compute)
    assert pool.ready(slot)
    assert not step.query()


def test_a_step_after_wait_sees_the_whole_adapter(streams: Streams) -> None:
    pool, uploads = small_pool(streams, adapters=2)
    streams.delay(uploads)
    slots = [pool.load(adapter) for adapter in (ONES, TWOS)]
    pool.wait(slots)
    reads = [streams.read(pool.pages, pool.tables.page[slot]) for slot in slots]
    streams.finish(streams.compute, uploads)
    assert all_are(reads[0](), 1.0)
    assert all_are(reads[1](), 2.0)


def test_an_upload_leaves_pages_and_row_alone_that_a_step_in_flight_reads(
    streams: Streams,
) -> None:
    pool, uploads = small_pool(streams, adapters=1)
    slot = pool.load(ONES)
    streams.finish(uploads, streams.compute)
    streams.delay(streams.compute)
    read = streams.read(pool.pages, pool.tables.page[slot])
    pool.unload(slot)
    assert pool.load(TWOS) == slot
    streams.finish(uploads, streams.compute)
    assert all_are(read(), 1.0)
    assert all_are(pool.pages, 2.0)


def test_kv_is_not_overwritten_by_the_upload_of_an_adapter_dropped_before_its_end(
    streams: Streams,
) -> None:
    pool, uploads = small_pool(streams, adapters=1)
    streams.delay(uploads)
    pool.unload(pool.load(ONES))
    pool.take_blocks(1, KV)
    pool.pages.copy_(torch.full_like(pool.pages, 3.0))  # a step writes K and V
    streams.finish(streams.compute, uploads)
    assert all_are(pool.pages, 3.0)


def test_of_two_uploads_to_the_same_pages_the_later_one_stays(streams: Streams) -> None:
    pool, uploads = small_pool(streams, adapters=1)
    streams.delay(uploads)
    pool.unload(pool.load(ONES))
    slot = pool.load(TWOS)
    assert not pool.ready(slot)
    streams.finish(uploads, streams.compute)
    assert pool.ready(slot)
    assert all_are(pool.pages, 2.0)
