"""The package can be had without torch; what needs it says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


def test_importing_the_live_mode_imports_neither_torch_nor_simpy() -> None:
    done = run(
        "import sys, simlora.live, simlora.live.replay, simlora.live.view\n"
        "print([name for name in ('torch', 'triton', 'simpy', 'kernels') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_live_run_without_torch_is_one_sentence(tmp_path: Path) -> None:
    done = run(
        "import sys\nsys.modules['torch'] = None\nfrom simlora.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))",
        "live",
        str(REPO / "scenarios" / "live-tiny.yaml"),
        "--out",
        str(tmp_path / "out"),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "needs the package torch" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").glob("*")) == []
