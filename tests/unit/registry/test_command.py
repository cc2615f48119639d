"""`simlora registry` as a user has it, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from simlora.cli.main import main
from tests.unit.registry.fleet import (
    WEIGHTS,
    edit_json,
    edit_tensors,
    tensor,
    write_adapter,
    write_base,
)


class Shell:
    """The commands in a folder with a base model and an adapter."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = path
        self.registry = path / "registry"
        self.base = write_base(path / "base")
        self.adapter = write_adapter(path / "adapter")
        self._capsys = capsys

    def run(self, command: str, *arguments: object) -> tuple[int, str, str]:
        where = [] if command == "keys" else ["--registry", str(self.registry)]
        code = main(["registry", command, *where, *map(str, arguments)])
        return (code, *self._capsys.readouterr())

    def add(self, *more: object, version: str = "v1") -> tuple[int, str, str]:
        names = ("--id", "support", "--tenant", "acme", "--version", version)
        return self.run("add", self.adapter, *names, "--base-model", self.base, *more)

    def trust(self, name: str = "ops") -> Path:
        code, out, _ = self.run("keys", "--new", self.path / "keys", "--name", name)
        private, public = (Path(line.split(": ")[0]) for line in out.splitlines())
        assert (code, private.suffix) == (0, ".key")
        (self.registry / "trusted").mkdir(parents=True, exist_ok=True)
        (self.registry / "trusted" / public.name).write_bytes(public.read_bytes())
        return private


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def test_an_adapter_from_key_to_verification(shell: Shell) -> None:
    key = shell.trust()
    assert shell.add("--key", key) == (0, "support@v1: added, signed by ops\n", "")
    assert shell.run("verify") == (0, "1 version is good\n", "")
    assert shell.run("verify", "support@v1", "--base-model", shell.base)[0] == 0
    assert shell.add("--key", key)[1] == "support@v1: is there already, signed by ops\n"
    promoted = shell.add("--key", key, "--promoted-at", "2026-05-02T08:00+02:00")
    assert promoted[1] == "support@v1: has another record now, signed by ops\n"
    assert shell.run("verify", "support") == (0, "1 version is good\n", "")


def test_all_facts_can_be_told(shell: Shell) -> None:
    tokenizer = shell.path / "tokenizer.model"
    tokenizer.write_bytes(b"abc")
    facts = "--trained-at 2026-05-01 --promoted-at 2026-05-02T08:00+02:00 --eval rouge_l=0.41"
    facts += " --eval loss=1e-2 --flag hipaa --flag gdpr --retain-until 2027-01-31"
    facts += f" --training-data-hash {'0' * 64} --tokenizer {tokenizer}"
    assert shell.add(*facts.split())[0] == 0
    (record,) = json.loads(shell.run("list", "--json")[1])
    told = {key: record[key] for key in ("trained_at", "promoted_at", "eval_scores")}
    assert told == {
        "trained_at": "2026-05-01T00:00:00Z",
        "promoted_at": "2026-05-02T06:00:00Z",
        "eval_scores": {"rouge_l": 0.41, "loss": 0.01},
    }
    assert record["compliance_flags"] == ["gdpr", "hipaa"]
    assert record["retention_policy"] == {"until": "2027-01-31"}
    assert record["training_data_hash"] == "0" * 64
    assert record["tokenizer_hash"].startswith("ba7816bf8f01cfea")  # SHA-256 of abc
    assert shell.run("verify", "--tokenizer", tokenizer)[0] == 0
    assert shell.run("verify", "--base-model", shell.base)[0] == 1


def test_verify_has_a_line_for_each_thing_that_is_wrong(shell: Shell) -> None:
    shell.trust()
    shell.add("--key", shell.path / "keys" / "ops.key")
    shell.add("--key", shell.path / "keys" / "ops.key", version="v2")
    stored = shell.registry / "support" / "v1"
    edit_json(stored / "record.json", tenant="other", alpha=9.0)
    edit_tensors(stored, lambda tensors: tensors.pop(tensor(1, "q_proj", "A")))
    (shell.registry / "stray.bin").write_bytes(b"")
    other = write_base(shell.path / "other", seed=1)
    code, out, err = shell.run("verify", "--base-model", other)
    assert (code, err) == (1, "")
    starts = [line.split(": ")[:2] for line in out.splitlines()]
    assert starts == [
        [str(shell.registry / "stray.bin"), "is a link or a file, not a folder of this registry"],
        ["support@v1", "signature"],
        ["support@v1", "file_sha256"],
        ["support@v1", "base_model_hash"],
        ["support@v1", str(stored / WEIGHTS)],
        ["support@v2", "base_model_hash"],
    ]
    code, out, _ = shell.run("verify", "--base-model", other, "--json")
    told = json.loads(out)
    assert (code, told["adapters"], len(told["problems"])) == (1, 2, 6)
    assert told["problems"][0]["adapter"] is None
    assert shell.run("verify", "support@v2") == (0, "1 version is good\n", "")
    # Of two base models that are served side by side, one has to be the adapter's.
    both = ("--base-model", shell.base, "--base-model", other)
    assert shell.run("verify", "support@v2", *both)[0] == 0


def test_verify_believes_the_keys_it_is_told_to(shell: Shell) -> None:
    key = shell.trust()
    shell.add("--key", key)
    empty = shell.path / "empty"
    empty.mkdir()
    code, out, _ = shell.run("verify", "--trusted", empty)
    assert (code, out) == (1, "support@v1: signed_by: there is no trusted key of ops\n")


def test_audit_and_list_are_tables_or_json(shell: Shell) -> None:
    assert shell.run("list")[0] == 2  # no such folder yet
    shell.add()
    code, out, _ = shell.run("list")
    assert code == 0
    assert [word in out for word in ("support", "v1", "acme", "somebody/base")] == [True] * 4
    code, out, _ = shell.run("audit", "--max-rank", "3")
    assert code == 0
    assert [word in out for word in ("rank 4 is above 3", "unsigned", "not promoted")] == [True] * 3
    told = json.loads(shell.run("audit", "--json")[1])
    assert (told["adapters"], told["z_limit"]) == (1, 6.0)
    assert [each["kind"] for each in told["findings"]] == ["unsigned", "not_promoted"]
    (shell.registry / "support" / "v1" / "record.json").write_text("{")
    assert "damaged" in shell.run("audit")[1]


def test_a_record_that_cannot_be_read_does_not_keep_list_from_the_others(shell: Shell) -> None:
    for version in ("v1", "v2", "v3"):
        shell.add(version=version)
    bad = shell.registry / "support" / "v2" / "record.json"
    bad.write_text("{")
    said = f"{bad}:1: is not valid JSON: "
    code, out, err = shell.run("list")
    assert (code, err) == (1, "")
    rows = [line.split()[1:3] for line in out.splitlines() if line.startswith("support ")]
    assert rows == [["v1", "acme"], ["v2", "unreadable"], ["v3", "acme"]]
    assert f"support@v2: {said}" in out.replace("\n", "")
    code, out, _ = shell.run("list", "--json")
    told = json.loads(out)
    assert (code, [row["version"] for row in told]) == (1, ["v1", "v2", "v3"])
    assert told[1].keys() == {"adapter_id", "version", "problem"}
    assert told[1]["problem"].startswith(said)


def test_a_registry_is_not_asked_for_the_hash_of_a_base_model(
    shell: Shell, user_caches: Path
) -> None:
    """Who can write to a registry could say there that another model is the base model."""
    shell.add()
    (cache,) = (path for path in user_caches.rglob("*") if path.is_file())
    assert not [path for path in shell.registry.iterdir() if path.name != "support"]
    other = write_base(shell.path / "other", seed=1)
    shell.add("--base-model", other, version="v2")
    known = json.loads(cache.read_text())
    ours, theirs = (known[str(each / "model.safetensors")] for each in (shell.base, other))
    stamped = {**theirs, "sha256": ours["sha256"]}
    for name in (".base-models.json", cache.name):
        content = {str(other / "model.safetensors"): stamped}
        (shell.registry / name).write_text(json.dumps(content))
    assert shell.run("verify", "support@v1", "--base-model", shell.base)[0] == 0
    assert shell.run("verify", "support@v1", "--base-model", other)[0] == 1


def test_an_empty_registry_is_good(shell: Shell) -> None:
    shell.registry.mkdir()
    assert shell.run("verify") == (0, "0 versions are good\n", "")
    assert shell.run("list") == (0, "no adapters\n", "")
    assert json.loads(shell.run("list", "--json")[1]) == []
    assert "nothing found" in shell.run("audit")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "adapter"], "Missing option '--id'"),
        (["verify", "suport"], 'no adapter "suport": did you mean support?'),
        (["verify", "support@v9"], 'no version "v9" of support: allowed: v1'),
        (["verify", "../x"], "adapter_id: must be made of letters"),
        (["verify", "support@../x"], "version: must be made of letters"),
        (["verify", "--base-model", "none"], "base model: none is no folder, and no hash"),
        (["verify", "--tokenizer", "none"], "none: cannot be read: No such file"),
        (["verify", "--trusted", "none"], "none: no such folder"),
        (["audit", "--z-limit", "0"], "0"),
        (["audit", "--z-limit", "nan"], "--z-limit"),
        (["audit", "--max-rank", "0"], "0"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, list) else "",
)
def test_a_mistake_is_one_sentence(shell: Shell, arguments: list[str], said: str) -> None:
    shell.add()
    code, out, err = shell.run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--eval", "rouge"], "--eval takes NAME=SCORE, such as rouge_l=0.41, not"),
        (["--eval", "rouge=nan"], "--eval takes NAME=SCORE"),
        (["--trained-at", "yesterday"], "trained_at: must be a time such as"),
        (["--retain-until", "soon"], "retention_policy.until: must be a date such as"),
        (["--flag", "two words"], "compliance_flags.0: must be made of letters"),
        (["--key", "none"], "none: cannot be read: No such file"),
        (["--id", "../x"], "adapter_id: must be made of letters"),
        (["--training-data-hash", "x"], "training_data_hash: must be 64 hexadecimal digits"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, list) else "",
)
def test_a_wrong_fact_is_one_sentence(shell: Shell, more: list[str], said: str) -> None:
    code, out, err = shell.add(*more)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not (shell.registry / "support").exists()


WITHOUT = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from simlora.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def without(missing: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, missing, "registry", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_no_torch_is_needed(shell: Shell) -> None:
    key = shell.trust()
    where, missing = ("--registry", shell.registry), "torch,triton,kernels"
    names = ("--id", "support", "--tenant", "acme", "--version", "v1", "--base-model", shell.base)
    added = without(missing, "add", shell.adapter, *where, *names, "--key", key)
    assert (added.returncode, added.stderr) == (0, "")
    for command in ("verify", "audit", "list"):
        done = without(missing, command, *where)
        assert (done.returncode, done.stderr) == (0, "")


def test_without_the_extra_one_sentence_says_what_to_install(shell: Shell) -> None:
    key = shell.trust()
    where = ("--registry", shell.registry)
    names = ("--id", "support", "--tenant", "acme", "--version", "v1", "--base-model", shell.base)
    edit_json(shell.adapter / "adapter_config.json", target_modules=".*(q_proj|down_proj)")
    for package, module in (
        ("cryptography", "cryptography"),
        ("safetensors", "safetensors"),
        ("google-re2", "re2"),
    ):
        done = without(module, "add", shell.adapter, *where, *names, "--key", key)
        assert done.returncode == 2
        assert f"package {package}; pip install 'simlora[registry]'" in done.stderr
        assert done.stderr.count("\n") == 1
    shell.add("--key", key)
    unsure = without("cryptography", "verify", *where)
    assert unsure.returncode == 1  # what cannot be checked is not good
    assert "support@v1: signature: " in unsure.stdout
    assert without("cryptography", "list", *where).returncode == 0
