"""What makes two runs the same run: a hash of all that their results follow from."""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from simlora import __version__
from simlora.errors import UserError
from simlora.scenario.schema import Scenario
from simlora.timing.profile import load_profile, profile_names
from simlora.timing.select import NEAREST

# JSON texts that are values: the path of a file, or `package.module:Class`.
_NAMED = re.compile(r'"(?:/(?:[^"\\]|\\.)*|[A-Za-z_][\w.]*:[A-Za-z_]\w*)"(?!:)')


def identity(scenario: Scenario) -> str:
    """A hash of the scenario with all defaults and its seed, of simlora's version, of the timing
    profile's figures, and of the content of every file that the scenario names: traces, configs of
    models, profiles, and modules of one's own policies. Where a file lies does not matter.

    A module that one's own module imports is not looked at.
    """
    # In a loaded scenario all names of files are absolute.
    told = _NAMED.sub(_by_content, scenario.model_dump_json())
    described = "\n".join((__version__, *_timing(scenario.timing.profile), told))
    return _hash(described.encode("utf-8", "surrogatepass"))


@lru_cache
def _timing(name: str) -> tuple[str, ...]:
    """The shipped profiles that the name may come to; what lies in a file is the file's content."""
    shipped = profile_names()
    named = shipped if name == NEAREST else [name] if name in shipped else []
    return tuple(load_profile(profile).model_dump_json() for profile in named)


def _by_content(found: re.Match[str]) -> str:
    """A text of the scenario with the content of what it names in the place of its path."""
    text = json.loads(found[0])
    if text.startswith("/"):
        content = _content(Path(text))
        return found[0] if content is None else content
    content = _content(_module_file(text.partition(":")[0]))
    return found[0] if content is None else f"{found[0]} {content}"


def _module_file(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _content(file: Path | None) -> str | None:
    """A hash of a file's bytes, None if it cannot be read: then the run will say so."""
    try:
        if file is None or not file.is_file():
            return None
        status = file.stat()
        return _hash_of_file(file, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _hash_of_file(file: Path, _mtime_ns: int, _size: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def check_same(scenario: Scenario, expected: str) -> None:
    """Raises UserError if here the scenario is not the run that it was where it was made."""
    if identity(scenario) != expected:
        raise UserError(
            "a worker has another simlora, or other files than the sweep began with: give all "
            "machines the same version, and the same traces and profiles at the same paths"
        )
