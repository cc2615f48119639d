"""One adapter as one replica sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlora.serving.request import Request

# Residency in GPU memory. DRAINING: withdrawn, and kept for those in the batch who use it.
ABSENT, LOADING, HOT, DRAINING = range(4)
# Residency in host memory.
NOT_HOSTED, FETCHING, HOSTED = range(3)


class AdapterState:
    """Sizes of an adapter, where its weights are, and who uses them."""

    __slots__ = (
        "ahead",
        "decoding",
        "fresh",
        "host",
        "hot",
        "hot_since_s",
        "index",
        "kept_until_s",
        "last_used_s",
        "nbytes",
        "pages",
        "parameters",
        "pinned",
        "running",
        "staging",
        "to_gpu",
        "unread",
        "waiting",
        "withdrawn",
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
        self.kept_until_s = -1.0  # until then others are evicted first
        self.unread = False  # its load reads the file first, see AdapterTiers.gpu_copy
        self.ahead = False  # loaded ahead, and nobody has asked for it yet
        self.to_gpu = False  # is to go on to GPU memory although nobody waits for it
        self.staging = False  # on its way from the store to the disk alone
        self.withdrawn = False  # out of service: nobody may join it
        self.waiting: list[Request] = []  # requests that wait for it to become hot

    @property
    def idle(self) -> bool:
        """Whether the adapter is in GPU memory and may be evicted from there."""
        return self.hot == HOT and not self.running and not self.fresh and not self.pinned

    @property
    def wanted(self) -> bool:
        """Whether the adapter is in host memory and requests wait for it to go up from there."""
        return self.hot == ABSENT and self.host == HOSTED and bool(self.waiting)
