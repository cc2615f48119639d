"""YAML as scenarios use it: plain data with the line of every value, and nothing that surprises.

Scalars follow YAML 1.2: `1e-3` is a number, `yes`, `010` in octal, dates and sexagesimals are not
special. Duplicate keys, tags, several documents and floods of aliases are refused. PyYAML's own
Python parser is used although libyaml is faster: libyaml crashes on deep nesting.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from simlora.errors import UserError
from simlora.scenario.problems import Path

MOST_BYTES = 2 * 2**20
MOST_VALUES = 200_000

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+(?:_[0-9]+)*")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_RESOLVERS = {
    _TAG + "null": _NULL,
    _TAG + "bool": _BOOL,
    _TAG + "int": _INT,
    _TAG + "float": _FLOAT,
}
_LONGEST_INT = 100  # digits; Python refuses thousands, and no field takes that many


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the texts that `parse` would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _tag, _pattern in _RESOLVERS.items():
        _class.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})$"), None)


def parse(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    """The document's data, and the line (from 1) of every value by its path.

    `source` names the text in errors. Raises UserError with the line.
    """
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise UserError(f"{where}: {_yaml_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        raise UserError(f"{source}: {_control_character(text, error)}") from None
    except RecursionError:
        raise UserError(f"{source}: is nested too deeply to be a scenario") from None
    lines: dict[Path, int] = {}
    return (None if node is None else _Builder(source, lines).build(node, ())), lines


def dump(data: Any) -> str:
    """YAML text that `parse` reads back as the same data."""
    text: str = yaml.dump(data, Dumper=_Dumper, width=100, allow_unicode=True, sort_keys=False)
    return text


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be parsed"
    if "single document" in (error.context or ""):
        return "holds a second YAML document, but a scenario is one document"
    if r"'\t'" in problem:
        return "a tab cannot be used for indentation: use spaces"
    return f"is not valid YAML: {problem}"


def _control_character(text: str, error: yaml.reader.ReaderError) -> str:
    line = text.count("\n", 0, error.position) + 1
    return f"line {line} holds a control character, so this is no YAML text"


class _Builder:
    """Turns composed nodes into data, noting lines, and stops an alias flood by counting."""

    def __init__(self, source: str, lines: dict[Path, int]) -> None:
        self._source = source
        self._lines = lines
        self._values = 0
        self._open: set[int] = set()  # nodes being built: one that contains itself has no end

    def build(self, node: yaml.Node, path: Path) -> Any:
        self._lines[path] = node.start_mark.line + 1
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._error(node, f"holds more than {MOST_VALUES:,} values, aliases expanded")
        if id(node) in self._open:
            raise self._error(node, "an alias refers to what it is part of")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                self._know(node, "seq")
                return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode):
                self._know(node, "map")
                return self._mapping(node, path)
            raise TypeError(f"unexpected YAML node {node!r}")
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else key_node
            if not isinstance(key, str):
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a collection"
                raise self._error(key_node, f"a field's name must be text, not {shown or 'null'}")
            if key in data:
                first = self._lines[(*path, key)]
                raise self._error(key_node, f'"{key}" is given twice, first in line {first}')
            data[key] = self.build(value_node, (*path, key))
            self._lines[(*path, key)] = key_node.start_mark.line + 1
        return data

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        text = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind == "null" and _NULL.fullmatch(text):
            return None
        if kind == "bool" and _BOOL.fullmatch(text):
            return text.lower() == "true"
        if kind == "int" and _INT.fullmatch(text):
            if len(text) > _LONGEST_INT:
                raise self._error(node, f"a number of {len(text)} digits is too large")
            return int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        raise self._error(node, f"the tag {node.tag.replace(_TAG, '!!')} is not allowed")

    def _know(self, node: yaml.Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._error(node, f"the tag {node.tag.replace(_TAG, '!!')} is not allowed")

    def _error(self, node: yaml.Node, problem: str) -> UserError:
        return UserError(f"{self._source}:{node.start_mark.line + 1}: {problem}")
