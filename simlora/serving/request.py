"""One request on its way through the gateway, a replica's queue and its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simlora.serving.adapter_state import AdapterState
    from simlora.serving.prefix_cache import PrefixNode

# Status of a request. WAITING and RUNNING end as "unfinished" if the run is cut before them.
WAITING, RUNNING, COMPLETED, REJECTED, FAILED = range(5)
STATUS_NAMES = ("unfinished", "unfinished", "completed", "rejected", "failed")

# Where the adapter was found when the request reached its replica.
SOURCE_NONE, SOURCE_HOT, SOURCE_WARM, SOURCE_NVME, SOURCE_STORE = range(5)
SOURCE_NAMES = ("none", "hot", "warm", "nvme", "store")


class Request:
    """What was asked (set once) and what became of it (set by the serving state machines).

    Times are seconds since the start of the run. A phase that was never entered has duration 0;
    an instant that never came is -1. For a completed request
    `queue_s + adapter_wait_s + prefill_s + decode_s + preempted_s == finish_s - arrival_s`.
    """

    __slots__ = (
        "adapter",
        "adapter_source",
        "adapter_state",
        "adapter_wait_s",
        "arrival_s",
        "attempts",
        "base_fallback",
        "block_class",
        "cached_tokens",
        "decode_s",
        "emitted_tokens",
        "enqueued_s",
        "finish_s",
        "finish_step",
        "first_token_s",
        "index",
        "kv_offset",
        "mark_s",
        "output_tokens",
        "preempted_s",
        "preemptions",
        "prefill_s",
        "prefill_target",
        "prefilled_tokens",
        "prefix_hashes",
        "prefix_nodes",
        "priority",
        "prompt_tokens",
        "queue_s",
        "reason",
        "replica",
        "retry_after_s",
        "session",
        "shadow",
        "status",
        "tenant",
        "tier",
        "turn",
    )

    def __init__(
        self,
        index: int,
        arrival_s: float,
        tenant: int,
        tier: int,
        adapter: int,
        prompt_tokens: int,
        output_tokens: int,
        session: int = -1,
        priority: int = 0,
        prefix_hashes: list[int] | None = None,
    ) -> None:
        self.index = index  # position in the order of arrival; negative of a copy (see `shadow`)
        self.turn = index  # the same, also of a copy
        self.arrival_s = arrival_s
        self.tenant = tenant  # indexes into Deployment.tenants, .tier_names, .adapters
        self.tier = tier
        self.adapter = adapter  # -1: the base model
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.session = session
        self.priority = priority
        self.prefix_hashes = prefix_hashes
        self.shadow = False  # a copy for a version on trial, whose answer nobody waits for

        self.status = WAITING
        self.reason = ""  # why rejected or failed
        self.attempts = 1  # times the client has asked, turned away before
        self.retry_after_s = -1.0  # seconds that the refusal asks the client to wait; -1: for ever
        self.replica = -1
        self.adapter_source = SOURCE_NONE
        self.base_fallback = False  # answered by the base model because the adapter was cold
        self.cached_tokens = 0  # prompt tokens found in the prefix cache at first admission
        self.emitted_tokens = 0  # output tokens the client has (true at the ends of phases)
        self.preemptions = 0

        self.queue_s = 0.0
        self.adapter_wait_s = 0.0
        self.prefill_s = 0.0
        self.decode_s = 0.0
        self.preempted_s = 0.0
        self.first_token_s = -1.0
        self.finish_s = -1.0

        # What the batch scheduler keeps with a request; meaningless outside a replica.
        self.adapter_state: AdapterState | None = None
        self.enqueued_s = arrival_s
        self.mark_s = 0.0  # when the present phase began
        self.prefilled_tokens = 0
        self.prefill_target = 0  # prompt tokens, and emitted ones after a preemption
        self.kv_offset = 0  # KV tokens held = kv_offset + the replica's decode step counter
        self.block_class = 0  # decode steps congruent to it (mod block size) open a new block
        self.finish_step = -1  # value of the decode step counter after the last token
        self.prefix_nodes: list[PrefixNode] | None = None
