"""Decision: [0, uptime_ms, model, inputs, constraints, context, output]."""

# docs/protocol.md, 2.1.  decisionwriter.py makes them of what the programming interface is given.

from tallystick.evidence import _shape as shape
from tallystick.evidence import value
from tallystick.evidence._wire import Wire
from tallystick.evidence.decisionwriter import check_model
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import DECISION
from tallystick.evidence.limits import RECORD_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Decision(Wire):
    """Canonical values: model [name, version, digest], constraints name -> [value, ..., held]."""

    def __init__(
        self,
        uptime_ms: int,
        model: "list[Any]",
        inputs: "dict[str, Any]",
        constraints: "dict[str, list[Any]]",
        context: "dict[str, Any]",
        output: "Any",
    ) -> None:
        shape.uint(uptime_ms, "decision")
        check_model(model)
        value.check_named(inputs)
        if type(constraints) is not dict:
            raise Malformed("bad-type", "constraints must be a map")
        for name, constraint in constraints.items():
            value.check_name(name)
            shape.row(constraint, 5, "constraint")
            value.check_number(constraint[0])
            value.check_limit(*constraint[1:])
        value.check_named(context)
        value.check(output)
        self.uptime_ms = uptime_ms
        self.model = model
        self.inputs = inputs
        self.constraints = constraints
        self.context = context
        self.output = output

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            DECISION,
            self.uptime_ms,
            self.model,
            self.inputs,
            self.constraints,
            self.context,
            self.output,
        ]


def parse(data: bytes) -> Decision:
    """Strict; Malformed with a reason of section 1.7."""
    decision = Decision(*shape.fields(data, DECISION, 6, RECORD_BYTES_MAX, "decision"))
    decision._data = data
    return decision
