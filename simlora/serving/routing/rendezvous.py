"""An order of the replicas for each key, that outlasts changes of the fleet."""

from __future__ import annotations

from hashlib import blake2b


class Rendezvous:
    """Rendezvous hashing (Thaler and Ravishankar, IEEE/ACM ToN 6(1), 1998): a key's order of the
    replicas comes from a hash of the key and each replica's number. A replica that is lost leaves
    the order of the others as it was; one that comes takes its place in it, at the head for one
    key in n.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._orders: dict[int, list[int]] = {}  # for these numbers

    def order(self, key: int, numbers: list[int], *, keep: bool = True) -> list[int]:
        """Indexes in `numbers`, the key's favourite first. `keep` it where the key comes again."""
        if numbers != self._numbers:
            self._numbers = list(numbers)
            self._orders.clear()
        order = self._orders.get(key)
        if order is None:
            order = sorted(range(len(numbers)), key=lambda index: _hash(key, numbers[index]))
            if keep:
                self._orders[key] = order
        return order


def _hash(key: int, number: int) -> bytes:
    return blake2b(f"{key}/{number}".encode(), digest_size=8).digest()
