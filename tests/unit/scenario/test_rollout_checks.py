"""Every mistake in a rollout is told in one sentence that names its field."""

from __future__ import annotations

from typing import Any

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.loading import dump_resolved, load_scenario
from tests.simulating import small_scenario

CANARY = {"mode": "canary", "share": 0.1}
SWITCH = {"mode": "switch", "every_s": 5.0}


def expanded(rollout: dict[str, Any], group: dict[str, Any], changes: dict[str, Any]) -> Any:
    return expand(
        small_scenario(tenants=[{"name": "acme", "rollout": rollout, **group}], **changes)
    )


SLOTS = {"memory": {"mode": "slots", "max_loras": 4, "max_lora_rank": 16}, "max_model_len": 1024}

WRONG: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], str, str]] = [
    # the rollout, more of its group, more of the scenario, the field that is named, what is said
    (CANARY, {"adapters": 0}, {}, "tenants.0.rollout", "needs adapters"),
    ({"mode": "canary"}, {}, {}, "tenants.0.rollout.share", "mode: canary needs it"),
    ({"mode": "ab"}, {}, {}, "tenants.0.rollout.share", "mode: ab needs it"),
    ({"mode": "shadow"}, {}, {}, "tenants.0.rollout.share", "mode: shadow needs it"),
    ({"mode": "switch"}, {}, {}, "tenants.0.rollout.every_s", "mode: switch needs it"),
    ({**SWITCH, "share": 0.1}, {}, {}, "tenants.0.rollout.share", "no meaning in mode: switch"),
    ({**SWITCH, "end_s": 9.0}, {}, {}, "tenants.0.rollout.end_s", "no meaning in mode: switch"),
    ({**SWITCH, "rollback": {}}, {}, {}, "tenants.0.rollout.rollback", "no meaning in mode"),
    ({**CANARY, "every_s": 1.0}, {}, {}, "tenants.0.rollout.every_s", "no meaning in mode: canary"),
    (
        {**CANARY, "start_s": 9.0, "end_s": 9.0},
        {},
        {},
        "tenants.0.rollout.end_s",
        "must be greater than start_s (9), not 9",
    ),
    (
        {**CANARY, "start_s": 600.0},
        {},
        {},
        "tenants.0.rollout.start_s",
        "must be less than workload.duration_s (600), not 600",
    ),
    (
        {**SWITCH, "start_s": 99.0},
        {},
        {"workload": {"rate_rps": 1.0, "duration_s": 50}},
        "tenants.0.rollout.start_s",
        "must be less than workload.duration_s (50), not 99",
    ),
    (
        {**CANARY, "candidate": {"name": "stable"}},
        {},
        {},
        "tenants.0.rollout.candidate.name",
        "is the name of the other version",
    ),
    (
        {**CANARY, "candidate": {"model": "llama-3.1-8b"}},
        {},
        {},
        "tenants.0.rollout.candidate.model",
        'no pool that may serve the group serves "llama-3.1-8b"; ',
    ),
    (
        {**CANARY, "candidate": {"adapter": {"rank": 32}}},
        {},
        {"engine": SLOTS},
        "tenants.0.rollout.candidate.adapter.rank",
        "must be at most engine.memory.max_lora_rank (16), not 32",
    ),
    (
        CANARY,
        {"count": 3, "tier": "gold"},
        {"engine": SLOTS, "adapters": {"hot": {"pinned_tiers": ["gold"]}}},
        "adapters.hot.pinned_tiers",
        "6 pinned adapters, both versions counted",
    ),
    (CANARY, {"count": 1_000_000, "adapters": 2}, {}, "tenants", "4,000,000 adapters, both"),
]


@pytest.mark.parametrize(("rollout", "group", "changes", "field", "said"), WRONG)
def test_a_mistake_is_told(
    rollout: dict[str, Any], group: dict[str, Any], changes: dict[str, Any], field: str, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        expanded(rollout, group, changes)
    sentence = str(caught.value)
    assert sentence.startswith(f"{field}: ")
    assert said in sentence
    assert "\n" not in sentence


FILE = """\
name: good
model: llama-3.1-8b
fleet: [{gpu: h100-80gb}]
tenants:
  - name: acme
    rollout: ROLLOUT
workload: {duration_s: 60, rate_rps: 3}
"""

WRONG_VALUES = [
    ("{mode: blue-green}", "rollout.mode", "canary"),
    ("{mode: canary, share: 1.5}", "rollout.share", "at most 1, not 1.5"),
    ("{mode: canary, share: 0}", "rollout.share", "greater than 0, not 0"),
    ("{share: 0.1}", "rollout.mode", "is missing"),
    ("{mode: canary, shares: 0.1}", "rollout.shares", "did you mean share?"),
    ("{mode: switch, every_s: 0}", "rollout.every_s", "greater than 0"),
    ("{mode: ab, share: 0.5, candidate: {name: a@b}}", "candidate.name", "letters, digits"),
    ("{mode: ab, share: 0.5, candidate: {output_factor: 0}}", "output_factor", "greater than 0"),
    ("{mode: ab, share: 0.5, rollback: {ttft_ratio: 0.5}}", "rollback.ttft_ratio", "at least 1"),
    ("{mode: ab, share: 0.5, rollback: {percentile: 98}}", "rollback.percentile", "98"),
    ("{mode: ab, share: 0.5, rollback: {ttft_ratio: null}}", "rollback", "needs at least one of"),
]


@pytest.mark.parametrize(("rollout", "field", "said"), WRONG_VALUES)
def test_a_wrong_value_is_told_with_its_line(
    tmp_path: Any, rollout: str, field: str, said: str
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(FILE.replace("ROLLOUT", rollout))
    with pytest.raises(UserError) as caught:
        load_scenario(path)
    sentence = str(caught.value)
    assert "bad.yaml:6: " in sentence
    assert field in sentence and said in sentence
    assert "\n" not in sentence


def test_a_rollout_on_hold_may_keep_the_fields_of_the_one_it_was() -> None:
    held = {**CANARY, "mode": "pinned", "end_s": 60.0, "every_s": 1.0, "rollback": {}}
    assert expanded(held, {}, {}).candidates == {0: 1}
    assert expanded({**held, "start_s": 9999.0}, {}, {}).candidates == {0: 1}


def test_a_rollout_survives_being_written_with_all_its_defaults(tmp_path: Any) -> None:
    path = tmp_path / "scenario.yaml"
    for rollout in ("{mode: canary, share: 0.1, rollback: {}}", "{mode: switch, every_s: 5}"):
        path.write_text(FILE.replace("ROLLOUT", rollout))
        scenario = load_scenario(path)
        path.write_text(dump_resolved(scenario))
        assert load_scenario(path) == scenario
