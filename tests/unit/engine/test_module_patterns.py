"""Modules are named as PEFT names them, and no pattern keeps the engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from simlora.engine.adapter_config import MODULES, AdapterConfig, module_name
from simlora.engine.module_patterns import EndingPatterns, ModuleNames
from simlora.errors import UserError

NAMES = [module_name(layer, module) for layer in (0, 1, 11, 21) for module in MODULES]
NAMES += ["model.embed_tokens", "lm_head"]

HANGING = """
import sys
from pathlib import Path
from simlora.engine.adapter_config import read_adapter_config
from simlora.errors import UserError
config = read_adapter_config(Path(sys.argv[1]))
try:
    modules = len(config.targets(2))
except UserError:
    modules = 0
print(modules, config.rank("model.layers.0.self_attn.q_proj"))
"""


@pytest.mark.parametrize(
    ("field", "told", "found"),
    [
        ("target_modules", "([a-z._0-9]+)+!", "0 8"),
        ("exclude_modules", "([a-z._0-9]+)+!", "14 8"),
        ("rank_pattern", {"([a-z._0-9]+)+!": 4}, "14 8"),
    ],
    ids=["target", "exclude", "rank"],
)
def test_a_pattern_that_backtracks_for_ever_does_not_hang(
    tmp_path: Path, field: str, told: object, found: str
) -> None:
    """In a process of its own, since nothing else could end Python's engine; the limit is there for
    the test to fail, years before that would."""
    fields = {"peft_type": "LORA", "target_modules": "all-linear", field: told}
    (tmp_path / "adapter_config.json").write_text(json.dumps(fields))
    command = [sys.executable, "-c", HANGING, str(tmp_path)]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (found, "")


def config(**fields: object) -> AdapterConfig:
    return AdapterConfig.model_validate({"peft_type": "LORA", **fields})


@pytest.mark.parametrize(
    "told",
    [
        r".*\.(q|k|v)_proj",
        r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj)",
        r"model\.layers\.(1|2)\d?\..*(?:gate|up|down)_proj",
        r".*decoder.*(SelfAttention|EncDecAttention).*(q|v)$",
        r"^model\.layers\.\d{1,2}\.mlp\.\w+_proj$",
        r"(?i).*Q_PROJ",
        r"(?:.*?(?:language|text|layers).*?(?:self_attn|attention).*?(?:q_proj|k_proj).*?)|(?:\bx\b)",
        r"q_proj",
        r".*[^v]_proj",
        ["q_proj", "self_attn.v_proj", "model.layers.1.mlp.up_proj", "_proj", "proj", "", "."],
        [".*q_proj"],
    ],
    ids=str,
)
def test_modules_are_those_that_peft_finds(told: str | list[str]) -> None:
    peft = LoraConfig(target_modules=told)
    found = [name for name in NAMES if name in ModuleNames(told)]
    assert found == [name for name in NAMES if check_target_module_exists(peft, name)]


@pytest.mark.parametrize(
    "patterns",
    [
        ["q_proj", "v_proj", ".*proj"],
        [r"model\.layers\.1\..*", "self_attn.q_proj", "(gate|up)_proj"],
        ["roj", "^model.*gate_proj", r"layers\.\d\d\.mlp\..*", "1.self_attn.k_proj"],
        NAMES,
    ],
    ids=lambda each: str(each)[:60],
)
def test_the_pattern_of_a_module_is_the_one_that_peft_takes(patterns: Iterable[str]) -> None:
    ranks = EndingPatterns({pattern: place for place, pattern in enumerate(patterns, 1)})
    by_peft = {pattern: place for place, pattern in enumerate(patterns, 1)}
    for name in NAMES:
        assert ranks.get(name, 0) == by_peft.get(get_pattern_key(list(by_peft), name), 0)


def test_each_module_of_a_deep_model_may_have_its_pattern() -> None:
    names = [module_name(layer, module) for layer in range(126) for module in MODULES]
    ranks = EndingPatterns({name: place for place, name in enumerate(names)})
    assert [ranks.get(name, -1) for name in names] == list(range(len(names)))


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({}, {0, 1, 2}),
        ({"layers_to_transform": []}, {0, 1, 2}),
        ({"layers_to_transform": 0}, {0}),
        ({"layers_to_transform": [2, 0]}, {0, 2}),
        (
            {"target_modules": "all-linear", "exclude_modules": r".*(1\..*|[^q]_proj)"},
            {0, 2},
        ),
    ],
    ids=str,
)
def test_layers_are_those_that_the_config_names(
    fields: dict[str, object], layers: set[int]
) -> None:
    assert set(config(**({"target_modules": ["q_proj"]} | fields)).targets(3)) == {
        (layer, "q_proj") for layer in layers
    }


def test_a_pattern_without_re2_is_refused_and_a_list_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    assert NAMES[0] in ModuleNames(["q_proj"])
    assert len(config(target_modules="all-linear").targets(1)) == len(MODULES)
    with pytest.raises(UserError, match=re.escape("pip install 'simlora[registry]'")):
        ModuleNames(".*q_proj")
