"""What does not fit together in a fleet of several models and regions is told in one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simlora.errors import UserError
from simlora.scenario.deployment import expand
from simlora.scenario.loading import load_scenario

# A good scenario; a case replaces one line of it.
GOOD = """\
name: good
model: llama-3.1-8b
fleet:
  - {name: main, gpu: h100-80gb, region: eu}
  - {gpu: l40s, model: qwen2.5-7b, region: us, tenants: [lab]}
tenants:
  - {name: pro, regions: [eu]}
  - {name: lab, model: qwen2.5-7b}
workload: {rate_rps: 3}
"""


def with_line(number: int, text: str) -> str:
    lines = GOOD.splitlines()
    lines[number - 1] = text
    return "\n".join(lines) + "\n"


def complaint(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        expand(load_scenario(path))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


def write(directory: Path, text: str) -> Path:
    path = directory / "bad.yaml"
    path.write_text(text)
    return path


def test_the_good_scenario_is_good(tmp_path: Path) -> None:
    assert len(expand(load_scenario(write(tmp_path, GOOD))).models) == 2


MAIN = "  - {name: main, gpu: h100-80gb, region: eu"
LAB = "  - {gpu: l40s, model: qwen2.5-7b, region: us, tenants: [lab]"
WRONG_LINES: list[tuple[int, str, str, str]] = [
    # line, what stands there, the field that is named, what is said of it
    (4, MAIN + ", tenants: [pr]}", "fleet.0.tenants.0", "did you mean pro?"),
    (4, MAIN + ", tenants: [pro, pro]}", "fleet.0.tenants.1", '"pro" is given twice'),
    (4, MAIN + ", tenants: pro}", "fleet.0.tenants", "must be a list"),
    (4, MAIN + ", model: llama-3.1-8}", "fleet.0.model.name", "did you mean llama-3.1-8b?"),
    (4, MAIN + ", model: {weights: fp8}}", "fleet.0.model.name", "is missing"),
    (4, MAIN + ", model: 8}", "fleet.0.model", "must be a mapping of fields, not 8"),
    (4, "  - {gpu: h100-80gb, region: a/b}", "fleet.0.region", "letters, digits"),
    (4, MAIN.replace("main", '"1"') + "}", "fleet.0.name", "already the name of fleet.1, which"),
    (5, LAB + ", name: main}", "fleet.1.name", '"main" is already the name of fleet.0'),
    (5, LAB + ", tensor_parallel: 3}", "fleet.1.tensor_parallel", "qwen2.5-7b has 28 heads"),
    (7, "  - {name: pro, regions: [eu, moon]}", "tenants.0.regions.1", "allowed: eu or us"),
    (7, "  - {name: pro, regions: [eu, eu]}", "tenants.0.regions.1", '"eu" is given twice'),
    (7, "  - {name: pro, model: llama-2-7b}", "tenants.0.model", 'no pool serves "llama-2-7b"'),
    (7, "  - {name: pro, model: {name: x}}", "tenants.0.model", "must be text, not a mapping"),
    (7, "  - {name: pro, profile: a b}", "tenants.0.profile", "letters, digits"),
    (7, "  - {name: pro, prompt_tokens: 3}", "tenants.0.prompt_tokens", "{fixed: …}"),
    (
        7,
        "  - {name: pro, output_tokens: {uniform: {min: 9, max: 3}}}",
        "tenants.0.output_tokens.uniform",
        "min (9) must not be greater than max (3)",
    ),
    (
        7,
        "  - {name: pro, regions: [us]}",
        "tenants.0",
        (
            "no pool may serve it: it needs llama-3.1-8b in us from a pool dedicated to nobody; "
            "pool main serves llama-3.1-8b in eu, pool 1 serves qwen2.5-7b in us to lab"
        ),
    ),
    (
        8,
        "  - {name: lab}",
        "tenants.1",
        "it needs llama-3.1-8b from a pool dedicated to it; pool 1 serves qwen2.5-7b in us to lab",
    ),
    (9, "workload: {rate_rps: 3}\nengine: {max_model_len: 40000}", "engine.max_model_len", "32768"),
    (9, "workload: {rate_rps: 3}\ngateway: {placement: packed}", "gateway.placement", "bin_packed"),
    (
        9,
        "workload: {rate_rps: 3}\ngateway: {cross_region_s: -1}",
        "gateway.cross_region_s",
        "at least 0",
    ),
]


@pytest.mark.parametrize(("line", "text", "field", "said"), WRONG_LINES)
def test_a_wrong_line_is_named_with_its_field(
    tmp_path: Path, line: int, text: str, field: str, said: str
) -> None:
    path = write(tmp_path, with_line(line, text))
    sentence = complaint(path)
    assert said in sentence
    match = re.match(re.escape(str(path)) + r":(\d+): ", sentence)
    assert match is not None
    assert int(match[1]) == line + text.count("\n")
    assert sentence.removeprefix(match[0]).startswith(f"{field}: ")


@pytest.mark.parametrize("field", ["prompt_tokens", "output_tokens"])
def test_a_groups_own_lengths_beside_a_trace_are_refused(tmp_path: Path, field: str) -> None:
    text = with_line(7, f"  - {{name: pro, {field}: {{fixed: 3}}}}")
    path = write(tmp_path, text.replace("rate_rps: 3", "trace: t.parquet"))
    assert complaint(path) == (
        f"{path}:7: tenants.0.{field}: belongs to synthetic traffic and has no meaning beside "
        "workload.trace"
    )
