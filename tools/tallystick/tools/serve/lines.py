"""What a client may write: one JSON object a line, its numbers exact (docs/recorder.md).

Pure: bytes in, a Request out, or Malformed.
"""

import json
from dataclasses import dataclass
from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.evidence.ids import INTERACTION_SIZE
from tallystick.evidence.keys import from_b64u
from tallystick.evidence.limits import HALF_BYTES_MAX
from tallystick.evidence.number import Dec, from_scaled
from tallystick.tools._exact import BYTES

LINE_BYTES_MAX = 65_536
NUMBER_CHARS_MAX = 64
RELIED_MAX = 64

# What an object may hold: kind -> (required, all) words; a claim also has its profile's fields.
WORDS = {
    "decision": ({"model"}, {"model", "inputs", "constraints", "output", "context", "urgent"}),
    "event": ({"name"}, {"name", "details"}),
    "claim": ({"profile", "role", "claim", "peers"}, None),
}
KINDS = (*WORDS, "accept", "health")
# Words of Recorder.claim() that a line has no use for.
RESERVED = {"wait", "self"}


@dataclass(frozen=True)
class Request:
    """`kind` is one of KINDS; `words` what it says, a half's bytes under `half`."""

    kind: str
    words: dict[str, Any]

    @property
    def waits(self) -> bool:
        """Whether its answer waits for a signature."""
        return self.kind in {"claim", "accept"} or self.words.get("urgent") is True


class LineBuffer:
    """Bytes as they come, cut into lines; a line that is too long is dropped and told as None."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._dropping = False

    @property
    def partial(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._rest) or self._dropping

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that end in `data`."""
        found: list[bytes | None] = []
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._take(part, found)
            if not self._dropping:
                found.append(bytes(self._rest))
            self._rest.clear()
            self._dropping = False
        self._take(rest, found)
        return found

    def last(self) -> list[bytes | None]:
        """What stands behind the last newline, when no more will come."""
        found: list[bytes | None] = [bytes(self._rest)] if self._rest else []
        self._rest.clear()
        return found

    def _take(self, part: bytes, found: list[bytes | None]) -> None:
        if self._dropping:
            return
        if len(self._rest) + len(part) > LINE_BYTES_MAX:
            self._dropping = True
            self._rest.clear()
            found.append(None)
        else:
            self._rest += part


def parse(line: bytes) -> Request:
    """One line; Malformed says what is wrong with it."""
    try:
        given = json.loads(
            line.decode(),
            parse_float=_number,
            parse_int=_number,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError:
        raise Malformed("bad-utf8", "the line is no UTF-8") from None
    except ValueError as error:
        raise Malformed("bad-json", f"the line is no JSON: {error}") from None
    except RecursionError:
        raise Malformed("too-deep", "values are nested too deeply") from None
    if type(given) is not dict or len(given) != 1:
        raise Malformed("bad-type", f"a line is an object with one of {', '.join(KINDS)}")
    ((kind, words),) = given.items()
    if kind not in KINDS:
        raise Malformed("bad-value", f"there is no {kind!r}; known: {', '.join(KINDS)}")
    if kind == "health":
        if words is not True:
            raise Malformed("bad-type", 'health is asked for by {"health": true}')
        return Request(kind, {})
    if kind == "accept":
        return Request(kind, {"half": _octets(words, "accept", HALF_BYTES_MAX)})
    return Request(kind, _words(kind, words))


def _words(kind: str, words: Any) -> dict[str, Any]:
    if type(words) is not dict:
        raise Malformed("bad-type", f"{kind} must be an object")
    required, known = WORDS[kind]
    for name in required - words.keys():
        raise Malformed("bad-value", f"{kind} needs {name}")
    for name in words.keys() - known if known is not None else words.keys() & RESERVED:
        raise Malformed("bad-value", f"{kind} takes no {name!r}")
    if "urgent" in words and kind == "decision" and type(words["urgent"]) is not bool:
        raise Malformed("bad-type", "urgent must be true or false")
    for name in ("inputs", "constraints", "context", "details", "peers"):
        if name in words and type(words[name]) is not dict:
            raise Malformed("bad-type", f"{name} must be an object")
    if "constraints" in words:
        words["constraints"] = _tuples(words["constraints"])
    if kind == "claim":
        _check_claim(words)
    return words


def _check_claim(words: dict[str, Any]) -> None:
    for name in ("profile", "role", "claim"):
        if type(words[name]) is not str:
            raise Malformed("bad-type", f"{name} must be text")
    for role, ids in words["peers"].items():
        if not all(type(one) is str for one in (ids if type(ids) is list else [ids])):
            raise Malformed("bad-type", f"peers: {role!r} must be an id, or an array of ids")
    if "relied" in words:
        words["relied"] = _relied(words["relied"])
    if "interaction" in words:
        words["interaction"] = _octets(words["interaction"], "interaction", INTERACTION_SIZE)


def _relied(given: Any) -> list[bytes]:
    if type(given) is not list or len(given) > RELIED_MAX:
        raise Malformed("bad-type", f"relied is an array of at most {RELIED_MAX} halves")
    return [_octets(one, "relied", HALF_BYTES_MAX) for one in given]


def _tuples(given: dict[str, Any]) -> dict[str, Any]:
    # The programming interface tells a constraint from a list by its being a tuple.
    for name, rule in given.items():
        if type(rule) is not list or not 2 <= len(rule) <= 4:
            raise Malformed("bad-type", f"constraint {name!r} must be [value, operator, limit]")
        if any(type(part) is list or type(part) is dict for part in rule):
            raise Malformed("bad-type", f"constraint {name!r} must hold numbers and text")
    return {name: tuple(rule) for name, rule in given.items()}


def _octets(text: Any, where: str, bytes_max: int) -> bytes:
    if type(text) is bytes:
        return text
    if type(text) is not str:
        raise Malformed("bad-type", f"{where} must be base64url text")
    if len(text) > (bytes_max * 4 + 2) // 3:
        raise Malformed("too-large", f"{where} is longer than {bytes_max} bytes")
    return from_b64u(text, len(text) * 3 // 4)


def _number(text: str) -> int | Dec:
    # By its digits: a binary float between would make 0.1 another number.
    if len(text) > NUMBER_CHARS_MAX:
        raise Malformed("bad-number", f"a number is longer than {NUMBER_CHARS_MAX} characters")
    mantissa, _, power = text.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    return from_scaled(int(whole + fraction), int(power or "0") - len(fraction))


def _constant(text: str) -> None:
    raise Malformed("bad-number", f"{text} is no number that can be recorded: give null")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("bad-value", "a name stands twice in one object")
    for name, value in found.items():
        if name.startswith("$"):
            if len(found) == 1 and name == BYTES:
                return _octets(value, BYTES, LINE_BYTES_MAX)
            raise Malformed("bad-value", f'only {{"{BYTES}": "base64url"}} begins with $')
    return found
