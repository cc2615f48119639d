"""What it takes to train an adapter, or a whole model, once."""

from __future__ import annotations

from dataclasses import dataclass

from simlora.scenario.catalog import GpuSpec, ModelSpec
from simlora.scenario.cost import Training


@dataclass(frozen=True, slots=True)
class Estimate:
    """One training: `tflop` operations (1e12), `hours` on all of its GPUs together at once,
    `gpu_hours` of one after the other, and `usd`."""

    tokens: int
    tflop: float
    hours: float
    gpu_hours: float
    usd: float


def estimate(training: Training, model: ModelSpec, gpu: GpuSpec, *, full: bool = False) -> Estimate:
    """What one training takes.

    A token costs two operations a weight forward, and two for the gradient that goes on down
    through it; two more where the weight is trained itself (Kaplan et al., arXiv 2001.08361,
    section 2.1: six in all). A frozen base saves the last two. The input embedding is looked up,
    not multiplied; attention over the example is counted, forward once and backward twice.
    """
    tokens = int(training.examples * training.tokens_per_example * training.epochs)
    embedding = 0 if model.tie_word_embeddings else model.vocab_size * model.hidden_size
    weights = model.parameters - embedding
    shape = training.adapter
    targets = shape.targets if isinstance(shape.targets, str) else list(shape.targets)
    adapter = 0 if full else model.lora_parameters(shape.rank, targets)
    attended = (training.tokens_per_example + 1) / 2
    attention = 3 * 4 * model.num_hidden_layers * model.q_dim * attended
    flop = tokens * ((6 if full else 4) * weights + 6 * adapter + attention)
    hours = training.hours
    if hours is None:
        hours = flop / (gpu.bf16_tflops * 1e12 * training.utilization * training.gpus) / 3600
    usd_per_hour = training.usd_per_gpu_hour
    price = gpu.usd_per_hour if usd_per_hour is None else usd_per_hour
    gpu_hours = hours * training.gpus
    return Estimate(tokens, flop / 1e12, hours, gpu_hours, gpu_hours * price)


def trainings_per_month(training: Training) -> float:
    """How often an adapter is trained in a month of 30 days."""
    return 0.0 if training.retrain_every_days is None else 30.0 / training.retrain_every_days
