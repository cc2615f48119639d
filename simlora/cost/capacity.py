"""How long one query keeps a replica busy that has all it can do."""

from __future__ import annotations

from dataclasses import replace

from simlora.scenario.deployment import Deployment
from simlora.serving.batch_shape import BatchShape
from simlora.serving.memory import plan_memory
from simlora.timing import make_timing


def saturated_s(
    deployment: Deployment, pool_index: int, prompt_tokens: float, output_tokens: float
) -> float:
    """Seconds of a replica for a query of so many tokens, one adapter being in use, when the batch
    is as full as its bound and the KV cache allow: its part of the decode steps, and what its
    prompt adds to one of them. By the timing model that simulations use.
    """
    timing, plan = make_timing(deployment, pool_index), plan_memory(deployment, pool_index)
    prompt, output = max(1, round(prompt_tokens)), max(1.0, output_tokens)
    fitting = plan.kv_capacity_tokens / (prompt + output)
    seqs = max(1, min(deployment.scenario.engine.max_num_seqs, int(fitting)))
    served = deployment.served_by(pool_index)
    parameters = served[0].parameters if served else 0
    decoding = BatchShape(
        decode_seqs=seqs,
        decode_attended_tokens=round(seqs * (prompt + output / 2)),
        lora_tokens=seqs if served else 0,
        lora_token_parameters=seqs * parameters,
        distinct_adapters=1 if served else 0,
        distinct_adapter_parameters=parameters,
    )
    mixed = replace(
        decoding,
        prefill_tokens=prompt,
        prefill_seqs=1,
        prefill_attended_tokens=prompt * (prompt + 1) // 2,
        lora_tokens=decoding.lora_tokens + (prompt if served else 0),
        lora_token_parameters=decoding.lora_token_parameters + prompt * parameters,
    )
    step_s = timing.step(decoding)
    return max(0.0, timing.step(mixed) - step_s) + output * step_s / seqs
