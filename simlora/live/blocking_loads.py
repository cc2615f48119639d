"""Loads that a step waits for."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from simlora.errors import UserError
from simlora.live.adapter_files import AdapterFiles
from simlora.live.mirror import Mirror
from simlora.serving.adapter_state import HOT, AdapterState

if TYPE_CHECKING:
    from simlora.live.embedded import Embedded

_log = logging.getLogger(__name__)


class BlockingLoads:
    """Brings adapters to the device between two steps. Called by the engine's thread."""

    def __init__(self, mirror: Mirror, device: Embedded, files: AdapterFiles) -> None:
        self._mirror = mirror
        self._device = device
        self._files = files

    def load(self, states: Iterable[AdapterState]) -> tuple[float, list[AdapterState]]:
        """Returns the seconds that it took, and the adapters that could not be loaded."""
        begun_s = time.perf_counter()
        failed = []
        for state in states:
            try:
                self._load(state)
            except UserError:  # whoever read it has told
                failed.append(state)
            except OSError as error:
                _log.error("an adapter cannot be loaded: %s", error)
                failed.append(state)
        return time.perf_counter() - begun_s, failed

    def _load(self, state: AdapterState) -> None:
        if state.hot != HOT or state.index in self._mirror.slots:
            return
        packed = self._files.host.get(state.index)
        if packed is None:
            packed = self._files.host[state.index] = self._files.read(state.index)
        slot, copied = self._device.upload(packed)
        self._mirror.slots[state.index] = slot
        copied.result()
