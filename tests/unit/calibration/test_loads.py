"""Load times and KV capacities give back what made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from simlora.calibration.loads import fit_kv, fit_loads
from simlora.calibration.tables import Selection, read_tables
from simlora.scenario.catalog import load_model
from simlora.scenario.schema import ModelChoice
from tests.measurements import GROUND_TRUTH, needs
from tests.unit.calibration.measuring import read_text

LINK = 50e9
PUBLISHED = GROUND_TRUTH / "bsc_micro_adapter_load.csv"
MODEL = load_model(ModelChoice(name="llama-3.1-8b"))


def test_latency_and_bandwidth(tmp_path: Path) -> None:
    sizes = (10e6, 40e6, 160e6)
    text = "load_ms,bytes\n" + "".join(f"{3 + size / 20e9 * 1e3},{size}\n" for size in sizes)
    fit = fit_loads([read_text(tmp_path, text)], None, "all-linear", LINK)
    assert fit.load.latency_s == pytest.approx(3e-3)
    assert fit.load.bytes_per_s == pytest.approx(20e9)
    assert abs(fit.errors).max() < 1e-9 and not fit.note


def test_a_rank_stands_for_the_bytes_of_its_adapter(tmp_path: Path) -> None:
    by_rank = {rank: 2 * MODEL.lora_parameters(rank, "all-linear") for rank in (8, 64)}
    text = "load_s,rank\n" + "".join(f"{1e-3 + n / 20e9},{r}\n" for r, n in by_rank.items())
    fit = fit_loads([read_text(tmp_path, text)], MODEL, "all-linear", LINK)
    assert fit.load.bytes_per_s == pytest.approx(20e9)


@needs(PUBLISHED)
def test_published_loads_are_read_by_the_rank_of_the_adapter() -> None:
    """A slot is larger than most adapters in it; what is copied is the adapter."""
    selection = Selection(
        {"load_ms": "mean_ms", "rank": "adapter_rank"},
        {
            "base_model": "llama-3.1-8b-instruct",
            "source_tier": "cpu_to_gpu_slot",
            "phase": "serving",
        },
    )
    (table,) = read_tables([PUBLISHED], selection)
    assert sorted(table.columns["rank"].tolist()) == [8, 8, 8, 16, 16, 32]
    fit = fit_loads([table], MODEL, "all-linear", LINK)
    assert fit.note == "larger adapters hardly loaded slower"
    assert fit.load.latency_s == pytest.approx(5.4e-3, rel=0.05)
    assert abs(fit.errors).mean() < 0.2


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ("8.5,1e6\n6.4,2e6\n", "larger adapters hardly loaded slower"),
        ("8.5,1e6\n8.5001,2e9\n", "larger adapters hardly loaded slower"),
        ("5.0,1e6\n5.2,1e6\n", "all loads have one size"),
    ],
)
def test_where_sizes_tell_nothing_the_link_is_believed(
    tmp_path: Path, rows: str, note: str
) -> None:
    fit = fit_loads([read_text(tmp_path, f"load_ms,bytes\n{rows}")], None, "all-linear", LINK)
    assert fit.load.bytes_per_s == pytest.approx(LINK)
    assert fit.note == note


def test_what_slots_take_from_the_kv_cache(tmp_path: Path) -> None:
    text = "kv_tokens,slots,rank\n" + "".join(
        f"{300_000 - slots * (20 + 45 * rank)},{slots},{rank}\n"
        for slots in (0, 32, 128)
        for rank in (8, 16, 32)
    )
    fit = fit_kv([read_text(tmp_path, text)], MODEL, "all-linear")
    found = (fit.base_tokens, fit.slot_tokens, fit.slot_rank_tokens)
    assert found == pytest.approx((300_000, 20, 45))
    assert fit.slot_rank_bytes == pytest.approx(45 * MODEL.kv_bytes_per_token)
