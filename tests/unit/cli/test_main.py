"""The command line answers mistakes with one sentence and exit code 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import simlora
from simlora.cli import main as cli_main
from simlora.cli.errors import exit_code
from simlora.cli.main import main
from simlora.errors import UserError

QUICKSTART = str(Path(__file__).parents[3] / "scenarios" / "quickstart.yaml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], 'no command "rnu", did you mean run?'),
        (["frobnicate"], 'no command "frobnicate", there are run'),
        (["--verison"], "--version"),
        (["run"], "Missing argument 'SCENARIO' (see simlora run --help)"),
        (["run", "none.yaml"], "none.yaml: no such file"),
        (["run", QUICKSTART, "--sed", "3"], "--seed"),
        (["run", QUICKSTART, "--seed", "x"], "'x' is not a whole number"),
        (["run", QUICKSTART, "--sed", "3"], "No such option '--sed', did you mean '--seed'"),
        (["run", QUICKSTART, "--seed", "-1"], "-1 is not in the range"),
        (["run", QUICKSTART, "extra"], "unexpected extra argument (extra)"),
        (["run", QUICKSTART, "--set", "fleet"], "--set takes key=value"),
        (["run", QUICKSTART, "--set", "fleet.0.gpus=x"], "--set fleet.0.gpus: unknown field"),
        (["run", QUICKSTART, "--set", "seed=["], "--set seed:1: is not valid YAML"),
        (["run", QUICKSTART, "--out", QUICKSTART], "is a file"),
        (["schema", "extra"], "unexpected extra argument"),
    ],
)
def test_a_mistake_is_one_sentence_on_stderr(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_help_names_every_command_without_importing_one() -> None:
    program = (
        "import sys; from simlora.cli.main import main; code = main(['--help']); "
        "assert not any(m.startswith('simlora.cli.') and m.split('.')[2] not in ('main', 'errors') "
        "for m in sys.modules), sorted(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("run", "trace", "report", "schema"):
        assert f"  {command} " in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"simlora {simlora.__version__}\n"


def test_schema_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "simlora scenario"


def test_the_module_can_be_run() -> None:
    command = [sys.executable, "-m", "simlora", "run", "none.yaml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: none.yaml: no such file\n")


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m simlora schema | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize(("failure", "code"), [(UserError("wrong"), 2), (KeyboardInterrupt(), 130)])
def test_exit_codes(failure: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise failure

    assert exit_code(command) == code
    assert capsys.readouterr().err in ("error: wrong\n", "interrupted\n")


def test_a_bug_keeps_its_traceback() -> None:
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exit_code(command)


def test_every_command_of_the_table_exists() -> None:
    for name in cli_main._COMMANDS:
        assert main([name, "--help"]) == 0


HEAVY = ("pandas", "matplotlib", "pyarrow", "scipy", "torch", "simpy", "rich")


def test_importing_simlora_and_loading_a_scenario_is_light() -> None:
    program = (
        f"import sys, simlora; simlora.load_scenario({QUICKSTART!r}); "
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
