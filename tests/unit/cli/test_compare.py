"""`simlora compare`: its mistakes and its tables."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from simlora.cli.comparison_tables import comparison_tables
from simlora.cli.main import main
from simlora.planning.compare import Comparison
from tests.unit.planning.comparing import HITS, LOADS, TTFT, judged
from tests.unit.planning.test_bound import POLICY
from tests.unit.planning.test_bound import compared as of_policies

SCENARIO = """\
name: base
model: tiny-llama
fleet: [{gpu: l40s}]
tenants: [{name: t, count: 4}]
workload: {rate_rps: 3, duration_s: 20}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "base.yaml"
    path.write_text(SCENARIO)
    return str(path)


def printed(compared: Comparison, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(comparison_tables(compared, "eviction", width))
    return out.getvalue()


def seven(values: list[float]) -> Comparison:
    names = ("lru", "2q", "s3-fifo", "sieve", "gdsf", "sla-aware", "belady")
    return judged(
        {
            name: {
                TTFT: [value * (1 + 0.1 * place) for value in values],
                HITS: [0.5 + 0.01 * place + 0.001 * value for value in values],
                LOADS: [1000.0, 1100.0, 1200.0],
                "latency.e2e_s.p99": [value + (-1) ** i * place for i, value in enumerate(values)],
            }
            for place, name in enumerate(names)
        }
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to compare with"),
        (["--vary", "fleet.0.replicas=1"], "there is nothing to compare with"),
        (["--vary", "fleet.0.replicas"], "--vary takes key=a,b,c"),
        (["--vary", "fleet.0.replicas=1,x"], "--vary fleet.0.replicas: must be a whole number"),
        (["--vary", "adapters.hot.evict=lru,x"], "--vary adapters.hot.evict: unknown field"),
        (
            ["--vary", "adapters.hot.eviction=lru,magic"],
            "variant magic: --vary adapters.hot.eviction: unknown name 'magic'",
        ),
        (["--vary", "model=tiny-llama,llama-3.1-405b"], "base.yaml:3: fleet.0: llama-3.1-405b"),
        (["none.yaml"], "none.yaml: no such file"),
        (["none.yaml", "--vary", "seed=1,2"], "--vary takes one scenario"),
        (["--vary", "fleet.0.replicas=1,2", "--replications", "0"], "--replications"),
        (["--vary", "fleet.0.replicas=1,2", "--out", __file__], "is a file"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr(
    scenario: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", scenario, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_the_default_of_replications_is_the_scenarios(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(scenario).write_text(SCENARIO + "run: {replications: 3}\n")
    arguments = ["compare", scenario, "--vary", "fleet.0.replicas=1,2", "--jobs", "1", "--json"]
    assert main([*arguments, "--seed", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["replications"], told["seeds"]) == (3, [4, 5, 6])
    assert told["variants"]["2"]["settings"] == {"fleet.0.replicas": 2}
    assert main([*arguments, "--replications", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [0, 1]


def test_seven_variants_fit_into_80_columns() -> None:
    text = printed(seven([1.0, 2.0, 4.0]))
    print(text)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "The same in all variants: adapter loads 1,100." in text
    assert "corrected for 6 variants per metric (Holm)" in " ".join(text.split())
    assert "Every variant served the same requests." in " ".join(text.split())


def test_marks_say_what_is_shown() -> None:
    text = printed(
        judged(
            {
                "lru": {TTFT: [1.0, 1.1, 0.9], HITS: [0.5, 0.5, 0.5], LOADS: [5.0, 6.0, 7.0]},
                "new": {TTFT: [1.5, 1.6, 1.4], HITS: [0.6, 0.61, 0.62], LOADS: [7.0, 4.0, 7.0]},
            }
        )
    )
    lru, new = (
        next(line for line in text.splitlines() if line.startswith(name)) for name in ("lru", "new")
    )
    assert " ".join(lru.split()) == "lru 1.00 s 50 % 6.00"
    assert " ".join(new.split()) == "new 1.50 s +50.0 ±0.0 ✗ 61 % +11 ±2 ✓ 6.00 0 ±83 ~"


def test_distances_from_the_bound_are_a_table_of_their_own() -> None:
    hits: dict[str, list[float | None]] = {
        "lru": [0.52, 0.5, 0.51],
        "s3-fifo": [0.6, 0.59, 0.61],
        "belady": [0.7, 0.69, 0.71],
    }
    text = printed(of_policies({name: {POLICY: name} for name in hits}, hits))
    assert max(map(len, text.splitlines())) <= 80
    table = text[text.index("from belady, pt") :]
    rows = [" ".join(line.split()) for line in table.splitlines()[2:5]]
    assert rows == [
        "lru 51.0 ±2.5 −19.0 ±2.5",
        "s3-fifo 60.0 ±2.5 −10.0 ±0.0",
        "belady 70.0 ±2.5 the bound",
    ]
    assert "Belady evicts what is asked for last" in " ".join(text.split())


def test_without_belady_no_distance_is_told() -> None:
    assert "elady" not in printed(
        judged({name: {HITS: [0.5, 0.6], TTFT: [1.0, 2.0]} for name in ("lru", "lfu")})
    )


def test_one_replication_gets_no_interval_and_no_verdict() -> None:
    text = printed(judged({"a": {TTFT: [1.0]}, "b": {TTFT: [2.0]}}))
    assert "+100 ?" in text
    assert "±" not in text
    assert "One replication tells no difference" in text


def test_a_baseline_of_zero_has_no_relative_difference() -> None:
    text = printed(judged({"a": {LOADS: [0.0, 0.0]}, "b": {LOADS: [5.0, 6.0]}}))
    row = next(line for line in text.splitlines() if line.startswith("b "))
    assert row.split() in (["b", "5.50", "~"], ["b", "5.50", "✗"])


def test_other_requests_are_told() -> None:
    figures = {name: {TTFT: [1.0, 2.0]} for name in "ab"}
    assert "but other requests in b" in printed(judged(figures, {"a": "x", "b": "y"}))


def test_a_long_name_is_folded_and_a_large_difference_is_a_factor() -> None:
    name = "a-variant-with-a-rather-long-name, and-another-value"
    text = printed(judged({"x": {TTFT: [1.0, 1.1]}, name: {TTFT: [91.0, 92.0]}}))
    assert max(map(len, text.splitlines())) <= 80
    assert "×87.1" in text
