"""Expressions that need no jq: look-ups, comparisons, sums, texts, put together.

They are read by a grammar that is a part of jq's, and turned into Python functions. Where Python
might not give exactly what jq does, for a value or an error, the function raises `NeedsJq`, and jq
is asked. So is it for what may become large or take long: nothing here ends a computation.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from headrace.workflows.model import Arguments

Evaluate = Callable[[Any, Arguments], Any]
"""An expression's value on some data."""

MAX_CHARACTERS = 1_000
"""Of an expression that is read here."""
MAX_TEXT = 10_000
"""Characters of a text, items of a list and fields of an object that are put together here."""
MAX_EXACT = 2**53
"""Up to here every integer is one of jq's numbers."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<field>\.[A-Za-z_][A-Za-z0-9_]*)
      | (?P<variable>\$[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>(?:0|[1-9][0-9]{0,14})(?![0-9.eE]))
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?!::))
      | (?P<text>"(?:[^"\\\x00-\x1f\x7f]|\\["\\/nt]|\\\([^"\\()]*(?:\([^"\\()]*\)[^"\\()]*)*\))*")
      | (?P<sign>//|==|!=|<=|>=|[.](?![.])|[-<>+*/%()\[\]{},:|])
    )""",
    re.VERBOSE,
)
_PART = re.compile(r"\\\(((?:[^()]|\([^()]*\))*)\)|((?:[^\\]|\\[^(])+)")
_ESCAPES = {'\\"': '"', "\\\\": "\\", "\\/": "/", "\\n": "\n", "\\t": "\t"}
_OWN_WORDS = frozenset({"if", "then", "elif", "else", "end", "and", "or"})
_NUMBERS = frozenset({int, float})


class NeedsJq(Exception):
    """Only jq can say what this expression gives on this data."""


@dataclass(frozen=True, slots=True)
class Simple:
    """A simple expression. `makes`: whether it puts data together, which may become large."""

    evaluate: Evaluate
    makes: bool

    def __call__(self, data: Any, arguments: Arguments) -> Any:
        """The expression's value. Raises NeedsJq."""
        return self.evaluate(data, arguments)


def simplify(text: str) -> Simple | None:
    """How to evaluate an expression without jq, if it is that simple."""
    try:
        reader = _Reader(text)
        return Simple(reader.read(), reader.makes)
    except (NeedsJq, RecursionError):
        return None


class _Reader:
    """Reads one expression, by jq's order of operators. Raises NeedsJq for all it does not know."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ("end", "")]
        self._place = 0
        self.makes = False
        """Whether what was read puts data together."""

    def read(self) -> Evaluate:
        """The whole expression."""
        found = self._pipe()
        if self._kind != "end":
            raise NeedsJq
        return found

    @property
    def _kind(self) -> str:
        return self._tokens[self._place][0]

    def _take(self, *wanted: str) -> str | None:
        """The next token, if it is one of these signs or words."""
        kind, text = self._tokens[self._place]
        if text not in wanted or kind == "text":
            return None
        self._place += 1
        return text

    def _next(self) -> tuple[str, str]:
        token = self._tokens[self._place]
        self._place += 1
        return token

    def _must(self, wanted: str) -> None:
        if self._take(wanted) is None:
            raise NeedsJq

    def _pipe(self) -> Evaluate:
        left = self._alternative()
        if self._take("|"):
            return _piped(left, self._pipe())
        return left

    def _alternative(self) -> Evaluate:
        left = self._binary(0)
        if self._take("//"):
            return _otherwise(left, self._alternative())
        return left

    def _binary(self, level: int) -> Evaluate:
        if level == len(_LEVELS):
            return self._term()
        signs = _LEVELS[level]
        left = self._binary(level + 1)
        while sign := self._take(*signs):
            self.makes |= sign == "+"
            left = signs[sign](left, self._binary(level + 1))
            if signs is _COMPARISONS:
                break
        return left

    def _term(self) -> Evaluate:
        kind, text = self._next()
        match kind:
            case "field":
                found = _field(_data, text[1:])
            case "variable" if text not in ("$ENV", "$__loc__"):
                found = _variable(text[1:])
            case "number":
                found = _constant(int(text))
            case "text":
                found = _joined(text[1:-1])
            case "word" if text not in _OWN_WORDS or text == "if":
                found = self._choice() if text == "if" else _word(text)
            case "sign" if text in "([{.":
                found = self._enclosed(text)
            case _:
                raise NeedsJq
        while self._kind == "field":
            found = _field(found, self._next()[1][1:])
        if self._take("["):  # an index or a slice
            raise NeedsJq
        return found

    def _enclosed(self, sign: str) -> Evaluate:
        if sign == ".":
            return _data
        if sign == "(":
            found = self._pipe()
            self._must(")")
            return found
        self.makes = True
        if sign == "{":
            return self._object()
        if self._take("range"):
            return self._range()
        items: list[Evaluate] = []
        if not self._take("]"):
            items.append(self._alternative())
            while self._take(","):
                items.append(self._alternative())
            self._must("]")
        return lambda data, arguments: [item(data, arguments) for item in items]

    def _range(self) -> Evaluate:
        self._must("(")
        upto = self._pipe()
        self._must(")")
        self._must("]")
        return lambda data, arguments: _range(upto(data, arguments))

    def _object(self) -> Evaluate:
        fields: list[tuple[Evaluate, Evaluate]] = []
        while not self._take("}"):
            if fields:
                self._must(",")
            kind, text = self._next()
            if kind == "word":
                key = _constant(text)
            elif kind == "text":
                key = _joined(text[1:-1])
            else:
                raise NeedsJq
            if self._take(":"):
                value = self._term()
            elif kind == "word":
                value = _field(_data, text)
            else:
                raise NeedsJq
            fields.append((key, value))
        return lambda data, arguments: {
            key(data, arguments): value(data, arguments) for key, value in fields
        }

    def _choice(self) -> Evaluate:
        condition = self._pipe()
        self._must("then")
        yes = self._pipe()
        if self._take("elif"):
            return _chosen(condition, yes, self._choice())
        no = self._pipe() if self._take("else") else _data
        self._must("end")
        return _chosen(condition, yes, no)


def _tokens(text: str) -> list[tuple[str, str]]:
    if len(text) > MAX_CHARACTERS:
        raise NeedsJq
    text, tokens, place = text.rstrip(), [], 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise NeedsJq
        tokens.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    return tokens


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda match: _ESCAPES[match[0]], text)


def _joined(text: str) -> Evaluate:
    """A text, with the values of the expressions in it."""
    parts = [
        _constant(_unescaped(match[2])) if match[1] is None else _Reader(match[1]).read()
        for match in _PART.finditer(text)
    ]

    def join(data: Any, arguments: Arguments) -> str:
        joined = "".join([_text(part(data, arguments)) for part in parts])
        return joined if len(joined) <= MAX_TEXT else _ask_jq()

    return join


def _data(data: Any, _arguments: Arguments) -> Any:
    return data


def _constant(value: Any) -> Evaluate:
    return lambda _data, _arguments: value


def _variable(name: str) -> Evaluate:
    return lambda _data, arguments: arguments[name]()


def _field(of: Evaluate, key: str) -> Evaluate:
    def look_up(data: Any, arguments: Arguments) -> Any:
        value = of(data, arguments)
        if value is None:
            return None
        return value.get(key) if isinstance(value, dict) else _ask_jq()

    return look_up


def _piped(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda data, arguments: right(left(data, arguments), arguments)


def _truth(value: Any) -> bool:
    return value is not None and value is not False


def _otherwise(left: Evaluate, right: Evaluate) -> Evaluate:
    def choose(data: Any, arguments: Arguments) -> Any:
        value = left(data, arguments)
        return value if _truth(value) else right(data, arguments)

    return choose


def _chosen(condition: Evaluate, yes: Evaluate, no: Evaluate) -> Evaluate:
    return lambda data, arguments: (yes if _truth(condition(data, arguments)) else no)(
        data, arguments
    )


def _both(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda data, arguments: _truth(left(data, arguments)) and _truth(right(data, arguments))


def _either(left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda data, arguments: _truth(left(data, arguments)) or _truth(right(data, arguments))


def _of_two(compute: Callable[[Any, Any], Any]) -> Callable[[Evaluate, Evaluate], Evaluate]:
    def make(left: Evaluate, right: Evaluate) -> Evaluate:
        return lambda data, arguments: compute(left(data, arguments), right(data, arguments))

    return make


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def result(left: Any, right: Any) -> bool:
        if type(left) is type(right) is str or (_is_exact(left) and _is_exact(right)):
            return compare(left, right)
        _ask_jq()

    return result


def _equal(left: Any, right: Any) -> bool:
    left, right = _scalar(left), _scalar(right)
    if type(left) in _NUMBERS and type(right) in _NUMBERS:
        return _compared(operator.eq)(left, right)
    return type(left) is type(right) and bool(left == right)


def _is_exact(value: Any) -> bool:
    return type(value) in _NUMBERS and -MAX_EXACT <= value <= MAX_EXACT


def _calculated(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def result(left: Any, right: Any) -> Any:
        if not _is_exact(left) or not _is_exact(right):
            _ask_jq()
        value = compute(left, right)
        if type(value) is float:
            # jq has one kind of number, and its zero may have a sign.
            if not math.isfinite(value) or value == 0:
                _ask_jq()
            value = int(value) if value.is_integer() else value
        return value if _is_exact(value) else _ask_jq()

    return result


_sum = _calculated(operator.add)


def _added(left: Any, right: Any) -> Any:
    if left is None:
        return right
    if right is None:
        return left
    if type(left) is type(right) is str:
        return left + right if len(left) + len(right) <= MAX_TEXT else _ask_jq()
    if isinstance(left, list) and isinstance(right, list):
        return left + right if len(left) + len(right) <= MAX_TEXT else _ask_jq()
    if isinstance(left, dict) and isinstance(right, dict):
        return left | right if len(left) + len(right) <= MAX_TEXT else _ask_jq()
    return _sum(left, right)


def _range(upto: Any) -> list[int]:
    return list(range(upto)) if type(upto) is int and 0 <= upto <= MAX_TEXT else _ask_jq()


def _divided(left: Any, right: Any) -> Any:
    return left / right if right != 0 else _ask_jq()


def _remainder(left: Any, right: Any) -> Any:
    whole = type(left) is int and type(right) is int and left >= 0 and right > 0
    return left % right if whole else _ask_jq()


def _length(value: Any) -> int:
    if value is None:
        return 0
    return len(value) if isinstance(value, str | list | dict) else _ask_jq()


def _total(value: Any) -> Any:
    if not isinstance(value, list) or len(value) > MAX_TEXT:
        _ask_jq()
    total = None
    for item in value:
        if not _is_exact(item):
            _ask_jq()
        total = item if total is None else _sum(total, item)
    return total


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if type(value) is int and _is_exact(value) else _ask_jq()


def _scalar(value: Any) -> Any:
    """What is compared here: lists and objects have jq's own order."""
    return _ask_jq() if isinstance(value, list | dict) else value


def _word(name: str) -> Evaluate:
    if name in _CONSTANTS:
        return _constant(_CONSTANTS[name])
    if name not in _FUNCTIONS:
        raise NeedsJq
    function = _FUNCTIONS[name]
    return lambda data, _arguments: function(data)


def _ask_jq() -> NoReturn:
    raise NeedsJq


_CONSTANTS = {"null": None, "true": True, "false": False}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "add": _total,
    "length": _length,
    "not": lambda value: not _truth(value),
    "tostring": _text,
}
_Operators = dict[str, Callable[[Evaluate, Evaluate], Evaluate]]
_COMPARISONS: _Operators = {
    "==": _of_two(_equal),
    "!=": _of_two(lambda left, right: not _equal(left, right)),
    "<": _of_two(_compared(operator.lt)),
    "<=": _of_two(_compared(operator.le)),
    ">": _of_two(_compared(operator.gt)),
    ">=": _of_two(_compared(operator.ge)),
}
_LEVELS: tuple[_Operators, ...] = (
    {"or": _either},
    {"and": _both},
    _COMPARISONS,
    {"+": _of_two(_added), "-": _of_two(_calculated(operator.sub))},
    {
        "*": _of_two(_calculated(operator.mul)),
        "/": _of_two(_calculated(_divided)),
        "%": _of_two(_calculated(_remainder)),
    },
)
