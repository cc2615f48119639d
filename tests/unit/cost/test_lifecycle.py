"""Training, migrating and deleting adapters."""

from __future__ import annotations

import pytest

from simlora.cost.density import places
from simlora.cost.lifecycle import deletion, migrate, retraining
from simlora.cost.training import Estimate, estimate
from simlora.scenario.catalog import load_gpu, load_model
from simlora.scenario.cost import Deletion, Migration, Training
from simlora.scenario.schema import ModelChoice
from simlora.serving.memory import plan_memory
from tests.unit.cost.billing import deployment

TRAINING = Training(tokens_per_example=1000, epochs=2.0, utilization=0.5, retrain_every_days=50)
EACH = Estimate(tokens=1, tflop=1.0, hours=6.0, gpu_hours=24.0, usd=96.0)
MIGRATION = Migration(to="qwen2.5-7b", gpus=8, window_days=3, adapters=20)


def test_a_training_counts_the_operations_of_its_tokens() -> None:
    model, gpu = load_model(ModelChoice(name="llama-3.1-8b")), load_gpu("h100-80gb")
    found = estimate(TRAINING, model, gpu)
    assert found.tokens == 20_000_000
    # Twice forward and twice back for each of ~7.5e9 weights that are multiplied, and attention.
    assert found.tflop * 1e12 / found.tokens == pytest.approx(4 * 7.5e9, rel=0.05)
    assert found.gpu_hours == pytest.approx(found.tflop / (989.4 * 0.5) / 3600)
    assert found.hours * 4 == found.gpu_hours and found.usd == found.gpu_hours * 4.0
    full = estimate(TRAINING, model, gpu, full=True)
    assert full.tflop / found.tflop == pytest.approx(1.5, rel=0.05)
    longer = estimate(TRAINING.model_copy(update={"tokens_per_example": 2000}), model, gpu)
    assert longer.tflop > 2 * found.tflop  # attention
    measured = estimate(TRAINING.model_copy(update={"hours": 3.0}), model, gpu)
    assert (measured.gpu_hours, measured.usd) == (12.0, 48.0)


def test_a_migration_trains_in_waves_and_serves_two_fleets_meanwhile() -> None:
    of = deployment(fleet=[{"gpu": "h100-80gb", "replicas": 3}])
    moved = migrate(
        of, MIGRATION, TRAINING, EACH, 10**10, 10**8, fleet_usd_per_hour=12.0, usd_per_gpu_hour=4.0
    )
    assert (moved.jobs, moved.waves, moved.hours) == (2, 10, 60.0)
    assert moved.fits and moved.gpus_needed == 8  # seven GPUs would be one training at once
    assert (moved.gpu_hours, moved.training_usd) == (480.0, 1920.0)
    assert moved.serving_usd == 720.0
    old = of.model.weight_bytes("bf16")
    assert moved.peak_weight_bytes == 3 * (old + 10**10)
    adapters = sum(adapter.nbytes for adapter in of.adapters)
    assert moved.peak_adapter_bytes == adapters + 20 * 10**8


def test_a_migration_that_does_not_fit_says_what_would() -> None:
    of = deployment()
    tight = MIGRATION.model_copy(update={"window_days": 1.0})
    moved = migrate(of, tight, TRAINING, EACH, 1, 1, 1.0, 4.0)
    assert not moved.fits and moved.gpus_needed == 20
    enough = tight.model_copy(update={"gpus": moved.gpus_needed})
    assert migrate(of, enough, TRAINING, EACH, 1, 1, 1.0, 4.0).fits
    one_less = tight.model_copy(update={"gpus": moved.gpus_needed - 1})
    assert not migrate(of, one_less, TRAINING, EACH, 1, 1, 1.0, 4.0).fits
    hopeless = tight.model_copy(update={"window_days": 0.2})
    assert migrate(of, hopeless, TRAINING, EACH, 1, 1, 1.0, 4.0).gpus_needed == 0


def test_a_migration_without_a_training_is_as_long_as_told_at_the_fleets_price() -> None:
    told = MIGRATION.model_copy(update={"gpu_hours_each": 2.0})
    moved = migrate(deployment(), told, None, None, 1, 1, 1.0, usd_per_gpu_hour=4.5)
    assert moved.hours == 6.0  # three waves of eight
    assert moved.training_usd == pytest.approx(20 * 2 * 4.5)
    trained = migrate(deployment(), told, TRAINING, EACH, 1, 1, 1.0, usd_per_gpu_hour=4.5)
    assert trained.training_usd == pytest.approx(20 * 2 * 4.0)  # what a training's GPUs cost


def test_retraining_spread_evenly_keeps_its_slots_busy() -> None:
    found = retraining(500, TRAINING, EACH)
    assert found is not None
    assert (found.per_day, found.slots) == (10.0, 3)  # sixty hours of training a day
    assert found.days == pytest.approx(-(-500 // 3) * 6 / 24)
    assert retraining(500, TRAINING.model_copy(update={"retrain_every_days": None}), EACH) is None


def test_a_deleted_adapter_is_gone_when_the_last_copy_is() -> None:
    asked = Deletion(propagation_s=100.0, store_s=86_400.0, backup_retention_days=20.0)
    gone = deletion(asked, longest_request_s=43_100.0)
    assert gone.days["GPU memory"] == gone.days["host memory and disks"] == 0.5
    assert gone.days["object storage"] == 1.0 and gone.days["backups"] == 21.0
    assert gone.last_days == 21.0 and gone.in_time
    late = deletion(asked.model_copy(update={"audit_retention_days": 365.0}), 0.0)
    assert late.last_days == 366.0 and late.in_time is False


def test_of_a_deletion_that_nobody_has_timed_only_the_worst_is_told() -> None:
    unknown = deletion(Deletion(), 1.0)
    assert unknown.last_days is None and unknown.in_time is None
    assert deletion(Deletion(backup_retention_days=90.0), 1.0).in_time is False


def test_the_density_of_adapters_is_what_the_memory_planner_leaves_beside_kv() -> None:
    of = deployment(cost={"density": {"gpus": ["h100-80gb", "a10g"], "kv_tokens": 65_536}})
    h100, a10g = places(of.scenario)
    plan = plan_memory(of, 0)
    kv_pages = 65_536 // plan.block_tokens * plan.block_pages
    pages = plan.adapter_pages(of.adapters[0].parameters)
    assert abs(h100.adapters - (plan.pool_pages - kv_pages) // pages) <= 1
    assert h100.usd_per_adapter == pytest.approx(4 * 720 / h100.adapters)
    assert h100.gpus == 1 and a10g.gpus == 2  # 22 GB do not hold model and KV
