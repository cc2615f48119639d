"""The reference mode: a step counted anew from its requests, slow and obvious.

With `run.fast_forward: false` every engine step is one event. Its shape is summed up here from the
requests alone, and the scheduler's running sums are held against it.
"""

from __future__ import annotations

from simlora.serving.batch_shape import BatchShape
from simlora.serving.page_pool import KV
from simlora.serving.request import Request
from simlora.serving.scheduler import BatchScheduler
from simlora.serving.step import StepPlan


def recount(scheduler: BatchScheduler, plan: StepPlan) -> BatchShape:
    """The shape of the planned step. Raises AssertionError if the scheduler's own sums, its KV
    pages or its finish steps disagree with what the requests say."""
    decoding = [r for r in scheduler.running.values() if r.finish_step >= 0]
    shape = BatchShape()
    adapters: dict[int, int] = {}
    blocks = 0
    for request in decoding:
        kv_tokens = _kv_tokens(request, scheduler.decodes.step_count)
        assert kv_tokens < request.prompt_tokens + request.output_tokens, "decodes past its end"
        shape.decode_seqs += 1
        shape.decode_attended_tokens += kv_tokens + 1
        blocks += _own_blocks(scheduler, request, kv_tokens)
        _count_adapter(shape, adapters, request, 1)
    for request, chunk in plan.chunks:
        shape.prefill_tokens += chunk
        shape.prefill_seqs += 1
        shape.prefill_attended_tokens += sum(
            range(request.prefilled_tokens + 1, request.prefilled_tokens + chunk + 1)
        )
        _count_adapter(shape, adapters, request, chunk)
    chunks = {request.index: chunk for request, chunk in plan.chunks}
    for request in scheduler.prefilling:
        held = request.prefilled_tokens + chunks.get(request.index, 0)
        blocks += _own_blocks(scheduler, request, held)
    shape.distinct_adapters = len(adapters)
    shape.distinct_adapter_parameters = sum(adapters.values())
    if scheduler.scans:
        shape.passed_over = len(scheduler.tiers.waiting_requests())
    assert shape == scheduler.shape, (shape, scheduler.shape)
    held_pages = scheduler.memory.pool.held[KV]
    assert blocks * scheduler.memory.plan.block_pages == held_pages, (blocks, held_pages)
    scheduler.memory.check()
    return shape if plan.timed is plan.shape else plan.timed


def _kv_tokens(request: Request, step_count: int) -> int:
    """Tokens in the KV cache: the prompt and all output tokens but the newest."""
    emitted = request.output_tokens - (request.finish_step - step_count)
    return request.prompt_tokens + emitted - 1


def _own_blocks(scheduler: BatchScheduler, request: Request, tokens: int) -> int:
    """KV blocks that the request holds alone."""
    shared = len(request.prefix_nodes or ()) * scheduler.memory.node_blocks
    return scheduler.memory.blocks(tokens) - shared


def _count_adapter(
    shape: BatchShape, adapters: dict[int, int], request: Request, tokens: int
) -> None:
    state = request.adapter_state
    if state is not None:
        shape.lora_tokens += tokens
        shape.lora_token_parameters += tokens * state.parameters
        adapters[state.index] = state.parameters
