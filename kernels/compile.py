"""Compiles every kernel with every configuration for a GPU that need not be there.

`python -m kernels.compile [--arch 90]` prints one line a kernel and fails if one does not compile.
Cases come from the `compile_cases()` of the modules in kernels.triton_ops.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class CompileCase:
    """One specialization of a kernel: Triton types of its run-time arguments (`*bf16`, `i32`) and
    values of its compile-time ones, both by argument name.

    `i32:16` is a number that is always a multiple of 16, as most strides are. Pointers are taken to
    be multiples of 16 bytes, as torch allocates them.
    """

    kernel: Any
    signature: dict[str, str]
    constexprs: dict[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int = 3


def find_cases() -> Iterator[CompileCase]:
    """Cases of all modules of kernels.triton_ops that have any."""
    package = importlib.import_module("kernels.triton_ops")
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        if hasattr(module, "compile_cases"):
            yield from module.compile_cases()


def compile_case(case: CompileCase, arch: int) -> Any:
    """Triton's compiled kernel, down to machine code for compute capability `arch` / 10."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = {}
    attributes: dict[tuple[int, ...], list[list[object]]] = {}
    for position, name in enumerate(case.kernel.arg_names):
        given, _, multiple = case.signature.get(name, "constexpr").partition(":")
        types[name] = given
        if given.startswith("*") or multiple:
            attributes[(position,)] = [["tt.divisibility", int(multiple or 16)]]
    source = ASTSource(
        fn=case.kernel, signature=types, constexprs=case.constexprs, attrs=attributes
    )
    options = {"num_warps": case.num_warps, "num_stages": case.num_stages}
    return triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels.compile", description=__doc__)
    parser.add_argument("--arch", type=int, default=90, help="compute capability times 10")
    arch = parser.parse_args().arch
    if os.environ.get("TRITON_INTERPRET", "0") == "1":
        sys.stderr.write("unset TRITON_INTERPRET: interpreted kernels are not compiled\n")
        return 2

    cases: dict[str, list[CompileCase]] = {}
    for case in find_cases():
        cases.setdefault(case.kernel.__name__, []).append(case)
    failed = 0
    for name, of_kernel in cases.items():
        began = time.monotonic()
        shared = 0
        for case in of_kernel:
            try:
                shared = max(shared, compile_case(case, arch).metadata.shared)
            except Exception as error:  # whatever the compiler raises, the other cases go on
                failed += 1
                sys.stderr.write(f"{name} {case.signature} {case.constexprs}: {error}\n")
        seconds = time.monotonic() - began
        size = f"{shared / 1024:6.1f} KiB shared"
        sys.stdout.write(f"{name:20} {len(of_kernel):3} cases, {size}, {seconds:5.1f} s\n")
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
