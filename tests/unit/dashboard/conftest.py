"""What tests of pages leave behind is taken away."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def tidied() -> Iterator[None]:
    """After these tests their worker processes end, and `__main__` is pytest's again: no process
    can be spawned from what streamlit leaves there."""
    from simlora.dashboard import jobs

    main = sys.modules["__main__"]
    yield
    jobs.workers().close()
    jobs.workers.clear()
    sys.modules["__main__"] = main
