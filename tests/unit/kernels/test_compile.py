"""All kernels compile for a GPU that is not there."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import kernels.triton_ops
from kernels.compile import find_cases


def run_compile(*arguments: str, interpret: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    command = [sys.executable, "-m", "kernels.compile", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)


def test_every_kernel_compiles_for_hopper() -> None:
    done = run_compile("--arch", "90")
    assert done.returncode == 0, done.stderr
    for case in find_cases():
        assert case.kernel.__name__ in done.stdout


def test_every_module_with_a_kernel_names_cases() -> None:
    names = {case.kernel.fn.__module__.rpartition(".")[2] for case in find_cases()}
    files = {info.name for info in pkgutil.iter_modules(kernels.triton_ops.__path__)}
    assert files - names <= {"lora_configs", "paged_kv"}


def test_interpreted_kernels_are_refused_in_a_sentence() -> None:
    done = run_compile(interpret=True)
    assert done.returncode == 2
    assert done.stderr == "unset TRITON_INTERPRET: interpreted kernels are not compiled\n"
