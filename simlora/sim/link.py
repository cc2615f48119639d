"""A link that transfers share: each gets an equal part of the bandwidth while it lasts."""

from __future__ import annotations

from collections.abc import Callable

from simpy import Environment

from simlora.serving.loading import Transfer
from simlora.timing.transfers import transfer_s

# Transfers whose rest would take less than this are done: what is left is rounding.
EPSILON_S = 1e-12


class Link:
    """Processor sharing over `bytes_per_s`; what a transfer takes before and after its bytes flow
    passes beside that of others."""

    def __init__(
        self, env: Environment, bytes_per_s: float, on_done: Callable[[Transfer], None]
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self.active = 0  # transfers begun and not done
        self._env = env
        self._on_done = on_done
        self._closed = False
        self._rest: dict[int, tuple[Transfer, float]] = {}  # bytes left, as of _updated_s
        self._next_key = 0
        self._updated_s = 0.0
        self._version = 0  # of the set of sharers; an older wake-up is void

    def start(self, transfer: Transfer) -> None:
        """Begin a transfer now."""
        self.active += 1
        timeout = self._env.timeout(transfer.latency_s)
        timeout.callbacks.append(lambda _: self._join(transfer))

    def close(self) -> None:
        """What is under way is lost; nothing is heard of it any more."""
        self._closed = True
        self.active = 0

    def alone_s(self, transfer: Transfer) -> float:
        """Seconds the transfer would take on the idle link."""
        return transfer_s(transfer.latency_s, transfer.nbytes, self.bytes_per_s, transfer.finish_s)

    def _join(self, transfer: Transfer) -> None:
        if self._closed:
            return
        self._settle()
        self._rest[self._next_key] = (transfer, float(transfer.nbytes))
        self._next_key += 1
        self._wake_at_next_end()

    def _settle(self) -> None:
        """Bring the bytes left up to now."""
        now = self._env.now
        if self._rest:
            moved = (now - self._updated_s) * self.bytes_per_s / len(self._rest)
            self._rest = {key: (t, rest - moved) for key, (t, rest) in self._rest.items()}
        self._updated_s = now

    def _wake_at_next_end(self) -> None:
        self._version += 1
        if not self._rest:
            return
        least = min(rest for _, rest in self._rest.values())
        delay = max(0.0, least * len(self._rest) / self.bytes_per_s)
        version = self._version
        self._env.timeout(delay).callbacks.append(lambda _: self._wake(version))

    def _wake(self, version: int) -> None:
        if version != self._version:
            return
        self._settle()
        tolerance = max(EPSILON_S, 4e-16 * self._env.now) * self.bytes_per_s
        done = [key for key, (_, rest) in self._rest.items() if rest <= tolerance]
        for key in done:
            transfer, _ = self._rest.pop(key)
            if transfer.finish_s:
                self._finish_later(transfer)
            else:
                self._finish(transfer)
        self._wake_at_next_end()

    def _finish_later(self, transfer: Transfer) -> None:
        timeout = self._env.timeout(transfer.finish_s)
        timeout.callbacks.append(lambda _: self._finish(transfer))

    def _finish(self, transfer: Transfer) -> None:
        if self._closed:
            return
        self.active -= 1
        self._on_done(transfer)
