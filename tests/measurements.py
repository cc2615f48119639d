"""Published measurements, recorded hits and public traces, where these lie beside the checkout; the
tests that compare with them are skipped where they do not, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

MEASUREMENTS = Path(__file__).resolve().parents[2] / "shared/data"
GROUND_TRUTH = MEASUREMENTS / "ground_truth"
CACHE_ORACLE = MEASUREMENTS / "cache_oracle"
STEP_BINS = GROUND_TRUTH / "bsc_micro_step_bins.csv"  # published with arXiv 2508.08343
TRACES = MEASUREMENTS / "traces"


def needs(path: Path) -> pytest.MarkDecorator:
    """The marker of a test, or of a module's, that reads this file or folder."""
    return pytest.mark.skipif(not path.exists(), reason=f"measurements are not at {path}")
