"""The notebooks run, and say what they say in the repository."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbmake.nb_run import NotebookRun  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = [
    "01_quickstart",
    "02_cost_models",
    "03_eviction_policies",
    "04_sla_tiers_and_fairness",
    "05_calibration_and_fidelity",
    "06_isolation_tax",
]
MOST_BYTES = 400_000
LIMIT_S = 300  # for a cell, on a machine that has other work too
REFRESH = "look at what changed, then run `python notebooks/refresh.py` and read the text again"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the notebooks and of what they read, so that whatever they leave behind is seen."""
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "jupyter"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    work = tmp_path / "work"
    for name in ("notebooks", "scenarios"):
        shutil.copytree(ROOT / name, work / name)
    return work


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_run_anew_gives_the_tables_and_figures_it_was_committed_with(
    name: str, workplace: Path
) -> None:
    path = workplace / "notebooks" / f"{name}.ipynb"
    files_before = sorted(workplace.rglob("*"))

    run = NotebookRun(path, LIMIT_S).execute()

    assert run.error is None, run.error.trace
    committed = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    assert list(_outputs(run.nb)) == list(_outputs(committed)), f"{name} is stale: {REFRESH}"
    assert sorted(workplace.rglob("*")) == files_before
    assert not list((workplace.parent / "temporary").iterdir())


def test_a_notebook_also_runs_from_the_root_of_the_repository(workplace: Path) -> None:
    path = workplace / "02_cost_models.ipynb"
    (workplace / "notebooks" / path.name).rename(path)

    run = NotebookRun(path, LIMIT_S).execute()

    assert run.error is None, run.error.trace


def test_every_notebook_is_run() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NOTEBOOKS


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_holds_a_whole_run_with_tables_figures_and_nothing_to_hide(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    notebook = nbformat.reads(text, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]

    assert len(text.encode()) < MOST_BYTES
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for output in outputs} == {"execute_result", "display_data"}
    assert sum("text/html" in output.data for output in outputs) >= 2  # tables
    assert sum("image/png" in output.data for output in outputs) >= 1
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert set(notebook.metadata.language_info) == {"name"}
    assert not any(cell.metadata for cell in notebook.cells)
    without_figures = re.sub(r'"image/png": "[^"]*"', "", text)
    assert not re.search(r"/(tmp|home|root|work|Users|usr)/|[A-Z]:\\\\", without_figures)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_opens_with_a_question_and_closes_with_what_it_means(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    first, last = notebook.cells[0].source, notebook.cells[-1].source

    assert first.startswith(f"# {int(name[:2])}. ")
    assert "**Question.**" in first
    assert "**What is simulated.**" in first
    assert "## What it means for a platform engineer" in last


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_a_notebook_imports_and_links_to_is_there_for_readers(name: str) -> None:
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", 4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", cell.source):
                assert (FOLDER / link).exists(), link
            continue
        names = [
            alias.name
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("simlora")
            for alias in node.names
        ]
        assert not [name for name in names if name.startswith("_")]


def _outputs(notebook: Any) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Cell, text and kinds of every output. Figures count by their presence and their size in
    inches: their bytes depend on fonts, and what they show stands in tables or is made from what
    does."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells):
        for output in cell.outputs:
            data = output.get("data", {})
            text = data.get("text/plain", "") or output.get("text", "")
            yield number, text, tuple(sorted(data))
