"""The decoding sequences of a replica, kept as sums so that many steps can be taken at once."""

from __future__ import annotations

from heapq import heappop, heappush

from simlora.serving.batch_shape import BatchShape
from simlora.serving.request import Request


class DecodeSet:
    """Sequences past their prefill. Each step gives every one of them a token.

    `step_count` counts the replica's steps. A sequence stores differences to it, so a step touches
    no sequence: one that holds `kv` tokens at its join has `kv_offset = kv - step_count`, ends when
    the count reaches `finish_step`, and opens a new KV block in the steps whose count before them
    is congruent to `block_class` modulo the block size.
    """

    def __init__(self, block_tokens: int, shape: BatchShape) -> None:
        self.block_tokens = block_tokens
        self.step_count = 0
        self.shape = shape
        # Sequences per block class, twice in a row so that a slice never wraps around.
        self._classes = [0] * (2 * block_tokens)
        self._finishes: list[tuple[int, int, Request]] = []

    def join(self, request: Request, kv_tokens: int) -> None:
        """`request` has had its prefill and has `kv_tokens` tokens in the KV cache."""
        count = self.step_count
        request.kv_offset = offset = kv_tokens - count
        request.finish_step = finish = count + request.output_tokens - request.emitted_tokens
        request.block_class = residue = -offset % self.block_tokens
        heappush(self._finishes, (finish, request.index, request))
        self._classes[residue] += 1
        self._classes[residue + self.block_tokens] += 1
        shape = self.shape
        shape.decode_seqs += 1
        shape.decode_attended_tokens += kv_tokens + 1
        adapter = request.adapter_state
        if adapter is not None:
            shape.lora_tokens += 1
            shape.lora_token_parameters += adapter.parameters
            adapter.decoding += 1
            if adapter.decoding == 1:
                shape.distinct_adapters += 1
                shape.distinct_adapter_parameters += adapter.parameters

    def leave(self, request: Request) -> int:
        """`request` stops decoding, finished or preempted. Returns the KV tokens it holds."""
        kv_tokens = request.kv_offset + self.step_count
        request.emitted_tokens = self.emitted_tokens(request)
        request.finish_step = -1
        residue = request.block_class
        self._classes[residue] -= 1
        self._classes[residue + self.block_tokens] -= 1
        shape = self.shape
        shape.decode_seqs -= 1
        shape.decode_attended_tokens -= kv_tokens + 1
        adapter = request.adapter_state
        if adapter is not None:
            shape.lora_tokens -= 1
            shape.lora_token_parameters -= adapter.parameters
            adapter.decoding -= 1
            if adapter.decoding == 0:
                shape.distinct_adapters -= 1
                shape.distinct_adapter_parameters -= adapter.parameters
        return kv_tokens

    def emitted_tokens(self, request: Request) -> int:
        """Output tokens that a decoding sequence has had by now."""
        return request.output_tokens - (request.finish_step - self.step_count)

    def advance(self, steps: int) -> None:
        """`steps` steps have been done."""
        self.step_count += steps
        self.shape.decode_attended_tokens += steps * self.shape.decode_seqs

    def pop_finished(self) -> Request | None:
        """A sequence that has had its last token, if there is one; it is still to `leave`."""
        finishes = self._finishes
        while finishes and finishes[0][0] <= self.step_count:
            finish, _, request = heappop(finishes)
            if request.finish_step == finish:  # else: preempted since, and in the heap anew
                return request
        return None

    def steps_to_finish(self) -> int:
        """Steps until the next sequence ends; there must be one."""
        finishes = self._finishes
        while finishes[0][2].finish_step != finishes[0][0]:
            heappop(finishes)
        return finishes[0][0] - self.step_count

    def new_blocks(self, steps: int) -> int:
        """KV blocks that the next `steps` steps open."""
        cycles, rest = divmod(steps, self.block_tokens)
        start = self.step_count % self.block_tokens
        return cycles * self.shape.decode_seqs + sum(self._classes[start : start + rest])

    def next_blocks(self) -> int:
        """KV blocks that the next step opens: `new_blocks(1)`, asked for at every step."""
        return self._classes[self.step_count % self.block_tokens]

    def steps_within(self, blocks: int, limit: int) -> int:
        """The most steps, at most `limit`, that open no more than `blocks` blocks."""
        if self.shape.decode_seqs * (limit // self.block_tokens + 1) <= blocks:
            return limit
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            if self.new_blocks(middle) <= blocks:
                low = middle
            else:
                high = middle - 1
        return low

    def members(self) -> list[Request]:
        """The decoding sequences, in no useful order (for checks and for the reference mode)."""
        return [r for finish, _, r in self._finishes if r.finish_step == finish]
