"""The way from a store that is not there, in a time of its own that passes only while all wait."""

from __future__ import annotations

import asyncio
import selectors
from types import SimpleNamespace
from typing import Any

import pytest

from simlora.live import store_link
from simlora.live.store_link import StoreLink


class Leaping(selectors.DefaultSelector):
    """Does not wait, but tells that it has waited."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nobody would ever go on"
        self.now += timeout
        return super().select(0)


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop whose timers are due at once, one after the other."""

    def __init__(self) -> None:
        self._leaping = Leaping()
        super().__init__(self._leaping)

    def time(self) -> float:
        return self._leaping.now


def ends(
    transfers: dict[str, tuple[float, int, float]],
    bytes_per_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, float]:
    """When transfers that begin together end, in seconds and in their order."""
    done: dict[str, float] = {}
    loop = VirtualTime()
    monkeypatch.setattr(store_link, "time", SimpleNamespace(perf_counter=loop.time))

    async def one(link: StoreLink, name: str) -> None:
        await link.carry(*transfers[name])
        done[name] = loop.time()

    async def all_of_them() -> None:
        link = StoreLink(bytes_per_s)
        await asyncio.gather(*(one(link, name) for name in transfers))

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(all_of_them())
    return done


def test_transfers_share_the_link_so_the_smaller_one_ends_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = ends({"large": (0.0, 3000, 0.0), "small": (0.0, 1000, 0.0)}, 1000, monkeypatch)
    assert list(done) == ["small", "large"]
    assert done == pytest.approx({"small": 2.0, "large": 4.0})


def test_what_comes_before_and_after_the_bytes_takes_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = {"before": (0.2, 1000, 0.0), "after": (0.0, 1000, 5.0), "neither": (0.0, 100, 0.0)}
    done = ends(waits, 1000, monkeypatch)
    assert list(done) == ["neither", "before", "after"]
    assert done == pytest.approx({"neither": 0.2, "before": 2.1, "after": 7.0})
