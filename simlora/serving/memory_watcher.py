"""Who is told of what a replica's memory does, as it does it."""

from __future__ import annotations

from typing import Protocol

from simlora.serving.adapter_state import AdapterState
from simlora.serving.prefix_cache import PrefixNode
from simlora.serving.request import Request


class MemoryWatcher(Protocol):
    """Follows the decisions about one replica's memory, in their order.

    The pool counts pages and knows no identities; whoever has a real pool gives its blocks and
    slots by these calls. They come before the pages are given back, and change nothing here.
    """

    def admitted(self, request: Request, cached_tokens: int) -> None:
        """The request joins the batch and shares the blocks of its `prefix_nodes`."""

    def left(self, request: Request, kv_tokens: int) -> None:
        """The request leaves the batch, done or not, with all of its `kv_tokens` tokens; it still
        has its `prefix_nodes`."""

    def cached(self, request: Request, blocks: int) -> None:
        """The last `blocks` of the request's `prefix_nodes` are blocks that it has computed."""

    def forgotten(self, node: PrefixNode) -> None:
        """A cached block that nobody uses is evicted."""

    def load_started(self, state: AdapterState) -> None:
        """The adapter is given its slot or pages in GPU memory."""

    def evicted(self, state: AdapterState) -> None:
        """The adapter leaves GPU memory."""
