"""How long one query keeps a replica busy that has all it can do."""

from __future__ import annotations

from simlora.scenario.deployment import Deployment
from simlora.serving.batch_shape import BatchShape
from simlora.serving.memory import plan_memory
from simlora.timing import make_timing


def saturated_s(
    deployment: Deployment, pool_index: int, prompt_tokens: float, output_tokens: float
) -> float:
    """Seconds of a replica for a query of so many tokens, one adapter being in use, when the batch
    is as full as its bounds and the KV cache allow. By the timing model that simulations use.

    In a steady state as many prompts come in as answers end: of `n` sequences with answers of
    `output_tokens` each, `n / output_tokens` a step, the first token of an answer being the
    prompt's step. Where that is less than one, some steps take in a whole prompt and others none.
    A prompt counts whole: one that computes while the step waits for the weights is free, one that
    makes it longer is not. Where decodes pause for prompts, these have steps of their own.
    """
    timing, plan = make_timing(deployment, pool_index), plan_memory(deployment, pool_index)
    engine, served = deployment.scenario.engine, deployment.served_by(pool_index)
    prompt, output = max(1.0, prompt_tokens), max(1.0, output_tokens)
    budget = engine.max_num_batched_tokens
    # All of a prompt for each sequence that begins, one token for each that goes on.
    within_budget = budget / (1 + (prompt - 1) / output)
    seqs = min(engine.max_num_seqs, plan.kv_capacity_tokens // (prompt + output), within_budget)
    seqs = max(1.0, seqs)
    begun = seqs / output  # prompts a step, on average
    at_once = min(max(1.0, begun), max(1.0, budget - (seqs - begun)) / prompt)
    parameters = served[0].parameters if served else 0

    def step_s(prompts: float, going_on: float) -> float:
        decoding = round(max(0.0, going_on))
        tokens = round(prompts * prompt)
        through = (decoding + tokens) if served else 0
        return timing.step(
            BatchShape(
                prefill_tokens=tokens,
                prefill_seqs=max(1, round(prompts)) if tokens else 0,
                prefill_attended_tokens=round(prompts * prompt * (prompt + 1) / 2),
                decode_seqs=decoding,
                decode_attended_tokens=round(decoding * (prompt + output / 2)),
                lora_tokens=through,
                lora_token_parameters=through * parameters,
                distinct_adapters=1 if served else 0,
                distinct_adapter_parameters=parameters,
            )
        )

    if engine.scheduler.batching == "separate":
        return step_s(at_once, 0.0) / at_once + (output - 1) * step_s(0.0, seqs) / seqs
    mixed_s = step_s(at_once, seqs - at_once)
    if begun >= at_once:  # every step takes in prompts
        return mixed_s / at_once
    mixed = begun / at_once
    return (mixed * mixed_s + (1 - mixed) * step_s(0.0, seqs)) / begun
