"""The checks, one a file, and the table that names them (docs/reconciliation.md, section 5).

A check is a pure function of its parameters, as the profile's encoding has them, and of the view.
A profile that names a check that is not in the table cannot be read by this validator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tallystick.verify.checks import agree, limit
from tallystick.verify.view import Outcome, View

Check = Callable[[dict[str, Any], View], Outcome]

CHECKS: dict[str, Check] = {
    "agree": agree.evaluate,
    "limit": limit.evaluate,
}
