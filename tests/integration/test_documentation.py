"""What the README and docs/ say can be done as they say it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote

import click
import pytest

from simlora import load_scenario, simulate
from simlora.cli.main import cli
from simlora.planning.compare import compare

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for folder in (".", "docs", "notebooks", "traces", "scenarios/validation")
    for page in (ROOT / folder).glob("*.md")
    if page.name != "CHANGELOG.md"
)
README = (ROOT / "README.md").read_text("utf-8")


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """What a link can lead to within the page, as GitHub forms it of the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def block(language: str, containing: str) -> str:
    """The fenced block of the README with these words in it."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)
    return next(found for found in blocks if containing in found)


def commands() -> list[tuple[str, list[str]]]:
    """Every `simlora` command in a console block: the page, and its words."""
    found = []
    for page in PAGES:
        for console in re.findall(r"^```console\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            for line in console.replace("\\\n", " ").splitlines():
                told = re.match(r"\$ (?:python -m )?simlora (.*)", line)
                if told:
                    found.append((page.name, shlex.split(told[1], comments=True)))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("http:", "https:")):
            continue
        name, _, anchor = unquote(target).partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize(("page", "words"), commands(), ids=lambda given: str(given)[:60])
def test_commands_have_the_options_that_are_shown(page: str, words: list[str]) -> None:
    rest = iter(words)
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), next(rest))
    assert command is not None
    known = {name for parameter in command.params for name in parameter.opts}
    assert {word.split("=")[0] for word in rest if word.startswith("--")} <= known


def test_the_tour_holds(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(block("yaml", "name: mine"))
    mine = load_scenario(file)
    two_l40s = simulate(mine).summary["tiers"]["gold"]["sla"]
    h100 = mine.with_overrides({"fleet.0.gpu": "h100-80gb", "fleet.0.replicas": 1})
    one_h100 = simulate(h100).summary["tiers"]["gold"]["sla"]
    assert two_l40s["ttft_p99_s"]["met"] and not two_l40s["tpot_p99_s"]["met"]
    assert one_h100["ttft_p99_s"]["met"] and one_h100["tpot_p99_s"]["met"]


def test_a_policy_of_ones_own_is_compared_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours.py").write_text(block("python", "class Hyperbolic"))
    monkeypatch.syspath_prepend(tmp_path)
    policies = ("lru", "gdsf", "ours:Hyperbolic", "belady")
    base = load_scenario(ROOT / "scenarios/eviction-zipf.yaml", {"workload.duration_s": 600})
    variants = {
        policy: base.with_overrides({"adapters.hot.eviction": policy}) for policy in policies
    }
    table = compare(variants, replications=1).table
    sys.modules.pop("ours", None)
    hits = table[table["metric"] == "adapters.hit_ratio"].set_index("variant")["mean"]
    assert hits["lru"] < hits["ours:Hyperbolic"] < hits["gdsf"] < hits["belady"]
