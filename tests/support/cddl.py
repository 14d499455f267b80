"""The part of CDDL (RFC 8610) that docs/protocol.md uses: read it, and match values against it.

The validators that Python has do not get choices inside arrays right (pycddl 0.6 refuses
`[uint, a / null]` where `a` is an array; zcbor 0.9 cannot be imported beside cbor2 6), so pycddl
checks the grammar and this file the values. It knows nothing of the code that it tests but `Dec`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.evidence.number import Dec

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
_TOKEN = re.compile(
    r"""\s*(?:;[^\n]*\n\s*)*(?P<token>
    "[^"]*" | \#6\.\d+ | \.size | => | \.\. | -?\d+ | [a-z][a-z0-9_-]* | [][{}(),:/=*+?])""",
    re.VERBOSE,
)
_PRELUDE = {
    "uint": lambda v: type(v) is int and v >= 0,
    "int": lambda v: type(v) is int,
    "tstr": lambda v: type(v) is str,
    "bstr": lambda v: type(v) is bytes,
    "bool": lambda v: type(v) is bool,
    "null": lambda v: v is None,
}


def blocks() -> str:
    """All CDDL of docs/protocol.md, in order."""
    return "\n".join(re.findall(r"```cddl\n(.*?)```", PROTOCOL.read_text(), re.DOTALL))


@dataclass
class _Entry:
    least: int
    most: float
    key: "_Type | None"
    type: "_Type"


@dataclass
class _Type:
    # choices of (what, argument): literal, name, choice, array, map, tag, range, sized
    choices: list[tuple[str, Any]] = field(default_factory=list)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        pos = 0
        text = text.rstrip() + "\n"
        while text[pos:].strip():
            found = _TOKEN.match(text, pos)
            if not found:
                message = f"CDDL that this reader does not know: {text[pos : pos + 40]!r}"
                raise ValueError(message)
            self.tokens.append(found["token"])
            pos = found.end()
        self.at = 0

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            message = f"CDDL: {expected or 'more'} expected, not {token!r}, at token {self.at}"
            raise ValueError(message)
        self.at += 1
        return token

    def rules(self) -> dict[str, _Type]:
        rules: dict[str, _Type] = {}
        while self.peek():
            name = self.take()
            self.take("=")
            if name in rules or name in _PRELUDE:
                message = f"CDDL: {name} is given twice"
                raise ValueError(message)
            rules[name] = self.type()
        return rules

    def type(self) -> _Type:
        choices = [self.primary()]
        while self.peek() == "/":
            self.take()
            choices.append(self.primary())
        return _Type(choices)

    def primary(self) -> tuple[str, Any]:
        token = self.take()
        if token == "[":
            return ("array", self.group("]"))
        if token == "{":
            return ("map", self.group("}"))
        if token == "(":
            inner = self.type()
            self.take(")")
            return ("choice", inner)
        if token.startswith("#6."):
            self.take("(")
            inner = self.type()
            self.take(")")
            return ("tag", (int(token[3:]), inner))
        if token[0] == '"':
            return ("literal", token[1:-1])
        if token.lstrip("-").isdigit():
            if self.peek() == "..":
                self.take()
                return ("range", (int(token), int(self.take())))
            return ("literal", int(token))
        if self.peek() == ".size":
            self.take()
            return ("sized", (token, int(self.take())))
        return ("name", token)

    def group(self, end: str) -> list[_Entry]:
        entries: list[_Entry] = []
        while self.peek() != end:
            least, most = {"*": (0, float("inf")), "+": (1, float("inf")), "?": (0, 1)}.get(
                self.peek(), (1, 1)
            )
            if self.peek() in ("*", "+", "?"):
                self.take()
            key = None
            if self.peek(1) == ":":  # a name that explains; arrays match by place
                self.take()
                self.take()
            value = self.type()
            if self.peek() == "=>":
                self.take()
                key, value = value, self.type()
            entries.append(_Entry(least, most, key, value))
            if self.peek() == ",":
                self.take()
        self.take(end)
        return entries


class Schema:
    """The rules of a text; `matches(name, value)` for decoded values."""

    def __init__(self, text: str) -> None:
        self.rules = _Parser(text).rules()
        self._check_names()

    def _check_names(self) -> None:
        def walk(part: Any) -> None:
            if isinstance(part, _Type):
                for what, argument in part.choices:
                    if what == "name" and argument not in self.rules and argument not in _PRELUDE:
                        message = f"CDDL: nothing is named {argument}"
                        raise ValueError(message)
                    walk(argument)
            elif isinstance(part, _Entry):
                walk(part.key)
                walk(part.type)
            elif isinstance(part, list | tuple):
                for inner in part:
                    walk(inner)

        for rule in self.rules.values():
            walk(rule)

    def matches(self, name: str, value: Any) -> bool:
        """Whether a decoded value is what the rule allows."""
        return self._type(self.rules[name], value)

    def _type(self, allowed: _Type, value: Any) -> bool:
        return any(self._choice(what, argument, value) for what, argument in allowed.choices)

    def _choice(self, what: str, argument: Any, value: Any) -> bool:
        if what == "literal":
            return type(value) is type(argument) and value == argument
        if what == "name":
            if argument in _PRELUDE:
                return bool(_PRELUDE[argument](value))
            return self._type(self.rules[argument], value)
        if what == "choice":
            return self._type(argument, value)
        if what == "range":
            return type(value) is int and argument[0] <= value <= argument[1]
        if what == "sized":
            return bool(_PRELUDE[argument[0]](value)) and len(value) == argument[1]
        if what == "tag":
            parts = [value.exponent, value.mantissa] if isinstance(value, Dec) else None
            return argument[0] == 4 and parts is not None and self._type(argument[1], parts)
        if what == "array":
            return type(value) is list and self._array(argument, value)
        return type(value) is dict and self._map(argument, value)

    def _array(self, entries: list[_Entry], items: list[Any]) -> bool:
        at = 0
        for entry in entries:
            count = 0
            while count < entry.most and at < len(items) and self._type(entry.type, items[at]):
                count += 1
                at += 1
            if count < entry.least:
                return False
        return at == len(items)

    def _map(self, entries: list[_Entry], items: dict[Any, Any]) -> bool:
        left = dict(items)
        for entry in entries:
            assert entry.key is not None
            fitting = [
                key
                for key, value in left.items()
                if self._type(entry.key, key) and self._type(entry.type, value)
            ]
            if not entry.least <= len(fitting) <= entry.most:
                return False
            for key in fitting:
                del left[key]
        return not left
