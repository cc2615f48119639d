"""The pages of the dashboard, in the order of the menu. A new page is one more entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PageEntry:
    """A page: its title in the menu, its place in the address, its icon, and the module whose
    `show` draws it (imported when it is first opened)."""

    title: str
    path: str
    icon: str
    module: str

    def draw(self) -> Callable[[], None]:
        """What draws the page, under a name of its own."""

        def show() -> None:
            import_module(self.module).show()

        show.__name__ = self.path.replace("-", "_")
        return show


PAGES = (
    PageEntry("What if", "what-if", ":material/science:", f"{__package__}.page_what_if"),
    PageEntry("Policies", "policies", ":material/swap_vert:", f"{__package__}.page_policies"),
    PageEntry("Tiers", "tiers", ":material/groups:", f"{__package__}.page_tiers"),
    PageEntry("Cost", "cost", ":material/payments:", f"{__package__}.page_cost"),
    PageEntry("Plan", "plan", ":material/savings:", f"{__package__}.page_plan"),
    PageEntry("Trace", "trace", ":material/timeline:", f"{__package__}.page_trace"),
    PageEntry("Fidelity", "fidelity", ":material/straighten:", f"{__package__}.page_fidelity"),
    PageEntry("Runs", "runs", ":material/folder_open:", f"{__package__}.page_runs"),
)

RUNS = Path("runs")  # where result directories are looked for, from where the server was started
