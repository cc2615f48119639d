"""The way from a store that is not there."""

from __future__ import annotations

import asyncio

from simlora.live.store_link import StoreLink


def ends(transfers: dict[str, tuple[float, int, float]], bytes_per_s: float) -> list[str]:
    """The names of transfers that begin together, as they end."""
    done: list[str] = []

    async def one(link: StoreLink, name: str) -> None:
        await link.carry(*transfers[name])
        done.append(name)

    async def all_of_them() -> None:
        link = StoreLink(bytes_per_s)
        await asyncio.gather(*(one(link, name) for name in transfers))

    asyncio.run(all_of_them())
    return done


def test_transfers_share_the_link_so_the_smaller_one_ends_first() -> None:
    assert ends({"large": (0.0, 3000, 0.0), "small": (0.0, 1000, 0.0)}, 50_000) == [
        "small",
        "large",
    ]


def test_what_comes_before_and_after_the_bytes_takes_its_time() -> None:
    waits = {"before": (0.12, 0, 0.0), "after": (0.0, 0, 0.06), "neither": (0.0, 10, 0.0)}
    assert ends(waits, 1e6) == ["neither", "after", "before"]
