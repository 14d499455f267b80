"""The bytes of a decision, straight from the arguments of the programming interface."""

# The recorder's hot path; what repeats (model, limits, order of names) is kept encoded.

from tallystick.evidence import cbor, number, value, valuewriter
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import RECORD_DEVICE_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODELS_MAX = 8
LIMITS_MAX = 32

_models: "dict[Any, bytes]" = {}
_limits: "dict[Any, tuple[str, int, int, bytes]]" = {}


def check_model(model: "Any") -> None:
    """[name, version or None, digest or None]."""
    if type(model) is not list:
        raise Malformed("bad-type", "a model must be an array")
    if len(model) != 3:
        raise Malformed("bad-value", "a model has name, version and digest")
    name, version, digest = model
    value.check_name(name)
    if version is not None:
        value.check_name(version)
    if digest is not None:
        if type(digest) is not bytes:
            raise Malformed("bad-type", "a model's digest must be a byte string")
        if len(digest) != 32:
            raise Malformed("bad-value", "a model's digest must be 32 bytes")


def _put_model(model: "Any") -> bytes:
    # "name@version", or (name, version or None, digest or None).
    if type(model) is str:
        name, at, version = model.partition("@")
        fields: list[Any] = [name, version if at else None, None]
    elif type(model) is tuple or type(model) is list:
        fields = list(model)
    else:
        raise Malformed("bad-type", "a model is 'name@version' or (name, version, digest)")
    check_model(fields)
    raw = cbor.encode(fields)
    if type(model) is str:  # what else there is may be something that no table can hold
        if len(_models) >= MODELS_MAX:
            _models.clear()
        _models[model] = raw
    return raw


def _put_limit(rule: "tuple[Any, ...]", decimals: int) -> "tuple[str, int, int, bytes]":
    # (operator, limit[, unit]) to the operator, the limit's mantissa and exponent, and their bytes
    # with the unit.
    operator = rule[0]
    limit = number.of(rule[1], decimals)
    unit = rule[2] if len(rule) == 3 else None
    value.check_limit(operator, limit, unit, held=True)
    raw = cbor.encode(operator) + cbor.encode(limit) + cbor.encode(unit)
    mantissa, exponent = number.parts(limit)
    kept = (operator, mantissa, exponent, raw)
    # Only text is kept: 1, 1.0 and True would be one key.
    if type(rule[1]) is str:
        if len(_limits) >= LIMITS_MAX:
            _limits.clear()
        _limits[rule] = kept
    return kept


def encode_decision(
    uptime_ms: int,
    model: "Any",
    inputs: "dict[str, Any]",
    constraints: "dict[str, Any]",
    context: "dict[str, Any]",
    output: "Any",
    decimals: int = 6,
) -> bytes:
    """Canonical bytes of API values; constraints: name -> (value, operator, limit[, unit])."""
    out = bytearray(b"\x87\x00")
    if type(uptime_ms) is not int or not 0 <= uptime_ms <= number.INT_MAX:
        raise Malformed("bad-value", "decision: uptime_ms must be 0 to 2^63-1")
    out += cbor.head(0, uptime_ms)
    out += (_models.get(model) if type(model) is str else None) or _put_model(model)
    valuewriter.put_named(out, inputs, valuewriter.FIELD_DEPTH, decimals)
    if type(constraints) is not dict:
        raise Malformed("bad-type", "constraints must be a dict")
    out += cbor.head(5, len(constraints))
    for raw, name in valuewriter.ordered(tuple(constraints)):
        constraint = constraints[name]
        if type(constraint) is not tuple or not 3 <= len(constraint) <= 4:
            raise Malformed("bad-type", "a constraint is (value, operator, limit[, unit])")
        measured = constraint[0]
        if type(measured) is float:
            mantissa, exponent = number.float_parts(measured, decimals)
        else:
            mantissa, exponent = number.parts(number.of(measured, decimals))
        rule = constraint[1:]
        known = _limits.get(rule) if type(rule[1]) is str else None
        operator, limit, limit_exponent, rest = known or _put_limit(rule, decimals)
        out += raw
        out.append(0x85)
        valuewriter.put_parts(out, mantissa, exponent)
        out += rest
        order = number.compare_parts(mantissa, exponent, limit, limit_exponent)
        out.append(0xF5 if value.meets(order, operator) else 0xF4)
    valuewriter.put_named(out, context, valuewriter.FIELD_DEPTH, decimals)
    valuewriter.put(out, output, valuewriter.FIELD_DEPTH, decimals)
    if len(out) > RECORD_DEVICE_BYTES_MAX:
        raise Malformed("too-large", "a record is longer than 4096 bytes: give digests of inputs")
    return bytes(out)
