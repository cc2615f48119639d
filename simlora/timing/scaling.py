"""Carrying measured figures over to hardware or a model that nobody has measured."""

from __future__ import annotations

from simlora.scenario.catalog import GpuSpec
from simlora.timing.parameters import LoadParameters, StepParameters

# Terms with a counterpart of the same meaning in the roofline.
_IN_PROPORTION = (
    "sequence_s",
    "weights_s",
    "token_compute_s",
    "decode_attended_s",
    "prefill_attended_s",
    "lora_step_s",
    "adapter_parameter_s",
    "lora_token_parameter_s",
)


def scaled_step(
    measured: StepParameters, source: StepParameters, target: StepParameters
) -> StepParameters:
    """What was measured where the roofline gives `source`, for where it gives `target`.

    A term with a counterpart in the roofline keeps its proportion to it, that is, the efficiency of
    the measured server. A measured cost per token is in proportion to compute and all-reduces
    together. The fixed part gains or loses the latency of all-reduces. Where the measurements did
    not tell it from reading the weights (`weights_s` is 0), as much of it as the roofline's reading
    takes is scaled like that. All other terms are kept: nothing tells how they change.
    """
    factors = {
        name: _ratio(getattr(target, name), getattr(source, name)) for name in _IN_PROPORTION
    }
    factors["token_s"] = _ratio(
        target.token_compute_s + target.token_s, source.token_compute_s + source.token_s
    )
    changed = {name: getattr(measured, name) * factor for name, factor in factors.items()}
    weights_s = 0.0 if measured.weights_s else min(measured.fixed_s, source.weights_s)
    rest_s = max(0.0, measured.fixed_s - weights_s + target.fixed_s - source.fixed_s)
    changed["fixed_s"] = weights_s * factors["weights_s"] + rest_s
    return measured.model_copy(update=changed)


def scaled_load(
    measured: LoadParameters, source: GpuSpec, source_gpus: int, target: GpuSpec, target_gpus: int
) -> LoadParameters:
    """Loads in proportion to the host links of all GPUs of a replica; the latency is kept."""
    factor = target.pcie_gb_per_s * target_gpus / (source.pcie_gb_per_s * source_gpus)
    return measured.model_copy(update={"bytes_per_s": measured.bytes_per_s * factor})


def _ratio(target: float, source: float) -> float:
    return target / source if source else 1.0
