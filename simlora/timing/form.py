"""The timing form: a step's duration as a sum of few physical terms."""

from __future__ import annotations

from simlora.serving.batch_shape import BatchShape
from simlora.timing.base import TimingModel
from simlora.timing.parameters import StepParameters


class StepTiming(TimingModel):
    """Timing by the form of StepParameters, for a server with `slots` adapter slots (0: none).

    `padded_parameters`: parameters of an adapter of the rank that all are padded to, or None where
    each adapter costs by its own rank.
    """

    def __init__(
        self,
        parameters: StepParameters,
        slots: int = 0,
        padded_parameters: int | None = None,
    ) -> None:
        self.parameters = p = parameters
        self.slots = slots
        self.padded_parameters = padded_parameters
        self._fixed_s = p.fixed_s
        self._sequence_s = p.sequence_s
        self._weights_s = p.weights_s
        self._token_compute_s = p.token_compute_s
        self._token_s = p.token_s
        self._decode_attended_s = p.decode_attended_s
        self._prefill_attended_s = p.prefill_attended_s
        self._scan_s = p.scan_s
        self._lora_step_s = p.lora_step_s + p.lora_slot_s * slots
        self._adapter_s = p.adapter_s
        self._adapter_parameter_s = p.adapter_parameter_s
        self._lora_token_s = p.lora_token_s + p.lora_token_slot_s * slots
        self._lora_token_parameter_s = p.lora_token_parameter_s
        if padded_parameters is not None:
            self._adapter_s += p.adapter_parameter_s * padded_parameters
            self._lora_token_s += p.lora_token_parameter_s * padded_parameters
            self._adapter_parameter_s = self._lora_token_parameter_s = 0.0

    def step(self, shape: BatchShape) -> float:
        tokens = shape.prefill_tokens + shape.decode_seqs
        compute_s = tokens * self._token_compute_s
        seconds = (
            self._fixed_s
            + (shape.prefill_seqs + shape.decode_seqs) * self._sequence_s
            + (compute_s if compute_s > self._weights_s else self._weights_s)
            + tokens * self._token_s
            + shape.decode_attended_tokens * self._decode_attended_s
            + shape.prefill_attended_tokens * self._prefill_attended_s
            + shape.passed_over * self._scan_s
        )
        if shape.lora_tokens:
            seconds += (
                self._lora_step_s
                + shape.distinct_adapters * self._adapter_s
                + shape.distinct_adapter_parameters * self._adapter_parameter_s
                + shape.lora_tokens * self._lora_token_s
                + shape.lora_token_parameters * self._lora_token_parameter_s
            )
        return seconds

    def decode_growth_s(self, shape: BatchShape) -> float:
        return shape.decode_seqs * self._decode_attended_s

    def describe(self) -> dict[str, object]:
        return {
            "parameters": self.parameters.model_dump(),
            "slots": self.slots,
            "padded_parameters": self.padded_parameters,
        }
