"""What importing the package costs; which part may import which is import-linter's to say."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "triton", "pandas", "matplotlib", "pyarrow", "scipy", "simpy")

IMPORT_AND_TELL = """
import json, sys, time
start = time.perf_counter()
import simlora
seconds = time.perf_counter() - start
json.dump({"seconds": seconds, "modules": sorted(sys.modules)}, sys.stdout)
"""


def test_importing_simlora_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_TELL], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    print(f"import simlora: {told['seconds']:.3f} s, {len(told['modules'])} modules")
    assert "simlora" in told["modules"]
    assert [name for name in HEAVY if name in told["modules"]] == []
