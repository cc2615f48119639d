"""What a report says its figures rest on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simlora.report.basis import provenance, provenance_rows, scenario_hash
from simlora.report.scenario_file import asked_hash
from simlora.results.result import Result
from simlora.results.schema import MEASURED, TimingFacts
from simlora.timing.profile import load_profile
from tests.unit.results.recorded import completed, deployment, record

SHIPPED = "vllm-0.8.5-h100-64gb-llama-3.1-8b"


def run_with(tmp_path: Path, timing: TimingFacts, asked: str = "name: recorded\n") -> Result:
    of = deployment()
    result = record(of, tmp_path, [completed(of, 0, 0.0)], 10.0, timing=timing)
    (result.directory / "scenario.resolved.yaml").write_text(asked)
    return result


def rows_of(result: Result) -> dict[str, str]:
    return dict(provenance_rows(result))


def test_version_scenario_seed_and_profile_are_told(tmp_path: Path) -> None:
    timing = TimingFacts(SHIPPED, "abc123", error={"throughput_median": 0.013})
    rows = rows_of(run_with(tmp_path, timing))
    assert rows["simlora"] == "0.1.0"
    assert rows["seed"] == "0"
    digest = asked_hash("name: recorded\n")
    assert rows["scenario"] == f"recorded ({digest})"
    assert rows["timing profile"] == f"{SHIPPED} (abc123)"
    assert rows["date of the profile"] == load_profile(SHIPPED).provenance.date
    assert rows["error of the profile"].startswith("throughput median 1.3 %")
    assert rows["extrapolates"] == "no: within what was measured"


def test_a_run_beyond_its_profile_says_so(tmp_path: Path) -> None:
    timing = TimingFacts(
        SHIPPED, "abc", scaled_from="h100-64gb, llama-3.1-8b", extrapolates=("running", "max_rank")
    )
    told = rows_of(run_with(tmp_path, timing))["extrapolates"]
    assert told == (
        "yes: scaled by the roofline from h100-64gb, llama-3.1-8b; beyond the measured range in "
        "running, max rank"
    )


def test_a_profile_of_ones_own_is_looked_for_where_the_scenario_says(tmp_path: Path) -> None:
    profile = json.loads(load_profile(SHIPPED).model_dump_json())
    profile |= {"name": "mine"}
    profile["provenance"] |= {"date": "2020-02-02"}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(profile))
    asked = f"name: recorded\ntiming:\n  profile: {path}\n"
    result = run_with(tmp_path / "run", TimingFacts("mine", "abc"), asked)
    assert rows_of(result)["date of the profile"] == "2020-02-02"
    path.unlink()
    assert "not known here" in rows_of(result)["date of the profile"]


@pytest.mark.parametrize(
    ("timing", "absent"),
    [
        (TimingFacts("roofline", "abc"), ()),
        (TimingFacts("an engine", MEASURED), ("timing profile", "extrapolates")),
    ],
)
def test_runs_without_a_measured_profile_claim_no_error(
    tmp_path: Path, timing: TimingFacts, absent: tuple[str, ...]
) -> None:
    rows = rows_of(run_with(tmp_path, timing))
    assert not set(absent) & set(rows)
    assert "%" not in "".join(rows.values())


def test_the_hash_is_of_what_was_asked_not_of_comments_on_top(tmp_path: Path) -> None:
    timing = TimingFacts("roofline", "abc")
    plain = run_with(tmp_path / "a", timing, "name: a\nseed: 1\n")
    noted = run_with(tmp_path / "b", timing, "# simlora 9.9\nname: a\nseed: 1\n")
    other = run_with(tmp_path / "c", timing, "name: a\nseed: 2\n")
    assert scenario_hash(plain) == scenario_hash(noted) != scenario_hash(other)
    (plain.directory / "scenario.resolved.yaml").unlink()
    assert "not in the directory" in scenario_hash(plain)


def test_the_table_is_escaped(tmp_path: Path) -> None:
    result = run_with(tmp_path, TimingFacts("<b>", "abc"))
    html = provenance(result)
    assert "<b>" not in html and "&lt;b&gt;" in html
