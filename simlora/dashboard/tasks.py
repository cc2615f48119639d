"""What workers can be told to compute. Every task is given a scratch directory and where to tell
its progress: a share from 0 to 1, and a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

Progress = Callable[[float, str], None]
Task = Callable[..., Any]

# In which module each is: what a worker does not need it does not import.
_HOME: Mapping[str, str] = {
    "what_if": "run_tasks",
    "keep_run": "run_tasks",
    "read_run": "run_tasks",
    "policies": "study_tasks",
    "tiers": "study_tasks",
    "cost": "money_tasks",
    "plan": "money_tasks",
    "read_trace": "trace_figures",
    "judge_upload": "fidelity_tasks",
}


def task(name: str) -> Task:
    """The task of that name."""
    found: Task = getattr(import_module(f"{__package__}.{_HOME[name]}"), name)
    return found
