"""Reads a definition's text, YAML 1.2 or JSON, as plain data in which every value knows its line.

The text is composed into ruamel.yaml's node graph and built into JSON-like data here: that keeps
the lines, and leaves out what the language has no use for (tags, merge keys, timestamps, NaN,
documents in a row, aliases that multiply into gigabytes).
"""

from __future__ import annotations

import math
import re
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from headrace.workflows.errors import DefinitionError
from headrace.workflows.reading.source import MAX_SOURCE_BYTES, Source, pointer, too_large

MAX_DEPTH = 64
MAX_VALUES = 100_000
MAX_UNFOLDED = 32 * 1_048_576
"""Characters of all texts and of all values' pointers: aliases and long keys multiply them."""
MAX_DIGITS = 309
"""What a double holds; longer integers could not be computed with."""

_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"
_TAG = "tag:yaml.org,2002:"
# The integers and floats of YAML 1.2's core schema; ruamel.yaml also takes `1_000`, which is text.
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_YAML_DIRECTIVE = re.compile(r"^%YAML[ \t]+(\S+)", re.MULTILINE)


def read_source(text: bytes, file: str) -> Source:
    """Parse a definition's text. Raises DefinitionError with the line at fault."""
    if len(text) > MAX_SOURCE_BYTES:
        raise too_large(file, len(text))
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise DefinitionError(file, line, None, "the file is not UTF-8 text") from None
    directive = _YAML_DIRECTIVE.search(decoded)
    if directive is not None and directive[1] != "1.2":
        line = decoded[: directive.start()].count("\n") + 1
        reason = f"the file asks for YAML {directive[1]}: remove the directive, YAML 1.2 is read"
        raise DefinitionError(file, line, None, reason)
    return _Builder(file).build(_compose(decoded, file))


class _BoundedComposer(Composer):
    """Stops at the limits, before the rest of the text was read."""

    _values = 0

    def compose_node(self, parent: Node | None, index: Node | int | None) -> Node:
        is_key = index is None and parent is not None
        self._values += not is_key
        if self._values > MAX_VALUES:
            self._stop(f"the file holds more than {MAX_VALUES} values")
        if self.depth > MAX_DEPTH:
            self._stop(_TOO_DEEP)
        node: Node = super().compose_node(parent, index)
        return node

    def _stop(self, reason: str) -> NoReturn:
        raise _LimitReached(reason, *_place(self.parser.peek_event().start_mark))


class _LimitReached(Exception):
    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column


def _compose(text: str, file: str) -> Node:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _BoundedComposer
    try:
        root = yaml.compose(text)
    except _LimitReached as reached:
        raise DefinitionError(
            file, reached.line, None, reached.reason, column=reached.column
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (None, None) if mark is None else _place(mark)
        reason = f"not valid YAML: {error.problem}"
        raise DefinitionError(file, line, None, reason, column=column) from None
    except YAMLError as error:
        reason = str(error).partition("\n")[0]
        raise DefinitionError(file, None, None, f"not valid YAML: {reason}") from None
    if not isinstance(root, Node):
        raise DefinitionError(file, None, None, "the file is empty")
    return root


def _place(mark: Any) -> tuple[int, int]:
    """A mark's line and column, both from 1."""
    return mark.line + 1, mark.column + 1


class _Builder:
    """Turns composed nodes into plain data, once."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        self._unfolded = 0

    def build(self, root: Node) -> Source:
        data = self._value(root, "", 0)
        return Source(self._file, data, self._places)

    def _value(self, node: Node, at: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            self._refuse(node, _TOO_DEEP)
        # Counted as they are built, so that aliases of aliases are counted as often as they appear.
        if len(self._places) >= MAX_VALUES:
            self._refuse(node, f"the file holds more than {MAX_VALUES} values")
        self._unfolded += len(at) + (len(node.value) if isinstance(node, ScalarNode) else 0)
        if self._unfolded > MAX_UNFOLDED:
            self._refuse(node, f"the file unfolds to more than {MAX_UNFOLDED} characters")
        self._places.setdefault(at, _place(node.start_mark))
        if isinstance(node, MappingNode):
            return self._mapping(node, at, depth)
        if isinstance(node, SequenceNode):
            self._expect(node, "seq")
            return [
                self._value(item, pointer(at, index), depth + 1)
                for index, item in enumerate(node.value)
            ]
        assert isinstance(node, ScalarNode)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, at: str, depth: int) -> dict[str, Any]:
        self._expect(node, "map")
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
                shown = key_node.value if isinstance(key_node, ScalarNode) else "this"
                self._refuse(key_node, f"the key {shown!r} is not text: put it in quotes")
            key = _text(key_node.value)
            if key in result:
                self._refuse(key_node, f"the key {key!r} stands here twice")
            at_key = pointer(at, key)
            # A key's place, not its value's: a block value starts on the line below.
            self._places[at_key] = _place(key_node.start_mark)
            result[key] = self._value(value_node, at_key, depth + 1)
        return result

    def _scalar(self, node: ScalarNode) -> Any:
        text: str = node.value
        match (node.tag or "").removeprefix(_TAG):
            case "str" | "timestamp":  # a date has no type of its own in JSON: it stays text
                return _text(text)
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return self._integer(node, text) if _INTEGER.fullmatch(text) else text
            case "float":
                if not _FLOAT.fullmatch(text):
                    self._refuse(node, f"{text!r} is not a number that JSON can hold")
                value = float(text)
                if not math.isfinite(value):
                    self._refuse(node, f"{text!r} is too large a number")
                return value
        return self._refuse(node, f"the tag {node.tag!r} is not supported")

    def _integer(self, node: Node, text: str) -> int:
        if len(text) > MAX_DIGITS:
            self._refuse(node, f"a number of {len(text)} digits is too large")
        # `017` is seventeen in YAML 1.2; int(…, 0) would refuse it.
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def _expect(self, node: Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            self._refuse(node, f"the tag {node.tag!r} is not supported")

    def _refuse(self, node: Node, reason: str) -> NoReturn:
        line, column = _place(node.start_mark)
        raise DefinitionError(self._file, line, None, reason, column=column)


def _text(text: str) -> str:
    r"""Join the surrogate pairs that JSON's `\ud83d\ude00` escapes leave behind."""
    if any("\ud800" <= char <= "\udfff" for char in text):
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
