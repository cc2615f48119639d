"""What tests of pages leave behind is taken away."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def main_module() -> Iterator[None]:
    """After these tests `__main__` is pytest's again: no process can be spawned from the script
    that streamlit's AppTest leaves there."""
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main


@pytest.fixture(scope="module")
def tidied() -> Iterator[None]:
    """After these tests their worker processes end."""
    from simlora.dashboard import jobs

    yield
    jobs.workers().close()
    jobs.workers.clear()
