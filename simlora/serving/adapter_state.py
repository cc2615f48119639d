"""One adapter as one replica sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlora.serving.request import Request

# Residency in GPU memory.
ABSENT, LOADING, HOT = range(3)
# Residency in host memory.
NOT_HOSTED, FETCHING, HOSTED = range(3)


class AdapterState:
    """Sizes of an adapter, where its weights are, and who uses them."""

    __slots__ = (
        "decoding",
        "fresh",
        "host",
        "hot",
        "hot_since_s",
        "index",
        "last_used_s",
        "nbytes",
        "pages",
        "parameters",
        "pinned",
        "running",
        "unread",
        "waiting",
    )

    def __init__(self, index: int, parameters: int, nbytes: int, pages: int, pinned: bool) -> None:
        self.index = index
        self.parameters = parameters
        self.nbytes = nbytes
        self.pages = pages  # of the pool; 0 where adapters have slots beside it
        self.pinned = pinned  # never evicted once hot
        self.hot = ABSENT
        self.host = NOT_HOSTED
        self.running = 0  # requests in the batch
        self.decoding = 0  # of them, those past their prefill
        self.fresh = False  # loaded, and not yet used by the request it was loaded for
        self.hot_since_s = -1.0
        self.last_used_s = -1.0
        self.unread = False  # its load reads the file first, see AdapterTiers.gpu_copy
        self.waiting: list[Request] = []  # requests that wait for it to become hot

    @property
    def idle(self) -> bool:
        """Whether the adapter is in GPU memory and may be evicted from there."""
        return self.hot == HOT and not self.running and not self.fresh and not self.pinned
