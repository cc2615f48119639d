"""`simlora compare` from end to end: files, any number of processes, Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

SCENARIO = """\
name: small
model: tiny-llama
fleet: [{gpu: l40s}]
tenants:
  - {name: gold, count: 10, tier: gold, adapter: {rank: 64}}
  - {name: free, count: 40, tier: free}
workload: {rate_rps: 20, duration_s: DURATION}
adapters: {hot: {max_adapters: 16}}
tiers: {gold: {sla: {ttft_p99_s: 0.02}}, free: {}}
"""
FILES = [
    *(f"comparison.{kind}" for kind in ("html", "json", "parquet", "png")),
    "curves.png",
    "ranks.png",
]


def command(folder: Path, duration_s: int, *options: str) -> list[str]:
    path = folder / "small.yaml"
    path.write_text(SCENARIO.replace("DURATION", str(duration_s)))
    vary = ["--vary", "adapters.hot.max_adapters=16,4,50"]
    return [sys.executable, "-m", "simlora", "compare", str(path), *vary, *options]


def test_a_comparison_is_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    told = {}
    for jobs in ("1", "2"):
        out = ["--out", str(tmp_path / jobs), "--jobs", jobs, "--replications", "4"]
        done = subprocess.run(command(tmp_path, 60, *out), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "Every variant served the same requests." in " ".join(done.stdout.split())
        told[jobs] = done.stdout
        assert sorted(path.name for path in (tmp_path / jobs).iterdir()) == FILES
    assert told["1"] == told["2"]
    for name in FILES:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name

    compared = json.loads((tmp_path / "1" / "comparison.json").read_text())
    fewer, all_places = (compared["variants"][name]["metrics"] for name in ("4", "50"))
    assert fewer["adapters.hit_ratio"]["verdict"] == "worse"
    assert all_places["adapters.hit_ratio"]["verdict"] == "better"
    assert all_places["adapters.loads"]["verdict"] == "better"
    assert fewer["requests.completed"]["verdict"] == "the same"
    table = pd.read_parquet(tmp_path / "1" / "comparison.parquet")
    assert len(table) == 3 * 4 * len(compared["metrics"])


def test_a_comparison_with_belady_tells_how_far_all_others_are(tmp_path: Path) -> None:
    arguments = command(tmp_path, 60, "--replications", "3", "--jobs", "2", "--out", "out")
    arguments[arguments.index("--vary") + 1] = "adapters.hot.eviction=lru,sieve,belady"
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "from belady, pt" in done.stdout
    bound = json.loads((tmp_path / "out" / "comparison.json").read_text())["bound"]["variants"]
    assert bound["belady"]["distance"] is None
    for name in ("lru", "sieve"):
        assert bound[name]["bound"] == "belady"
        assert bound[name]["distance_interval"][1] < 0
    assert "Distance from the bound" in (tmp_path / "out" / "comparison.html").read_text()


ROUTER = """\
import tempfile

class Marking:
    def __init__(self):
        tempfile.mkstemp(dir="begun")

    def choose(self, request, replicas):
        return 0
"""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_leaves_what_is_finished(tmp_path: Path, jobs: str) -> None:
    (tmp_path / "marking.py").write_text(ROUTER)
    (tmp_path / "begun").mkdir()
    options = ("--replications", "5000", "--jobs", jobs, "--out", "out")
    arguments = command(tmp_path, 10, *options)
    with (tmp_path / "small.yaml").open("a") as scenario:
        scenario.write("gateway: {routing: 'marking:Marking'}\n")
    process = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while len(list((tmp_path / "begun").iterdir())) < 20 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted after" in err
    compared = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert compared["interrupted"] is True
    finished = compared["replications"]
    assert 0 < finished < 5000
    assert f"{finished} replications" in " ".join(out.split())
