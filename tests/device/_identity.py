# Enrolments by one fleet root, for the tests of identities.
from _names import ISS
from tallystick.evidence import _shape, enrolment  # noqa: F401  # in this order: short stacks
from tallystick.evidence.enrolment import Enrolment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from tallystick.evidence.keys import PublicKey

    class Key(Protocol):
        """Of _made.py or _signing.py."""

        id: bytes

        def public_key(self) -> PublicKey: ...
        def sign(self, message: bytes) -> bytes: ...


FROM_S, TO_S = 1790000000, 1820000000


def draft(signer: "Key", **changed: "Any") -> Enrolment:
    key, possession = enrolment.request(signer, ISS)
    fields: "dict[str, Any]" = {
        "subject": 0,
        "id": signer.id,
        "key": key,
        "custody": 0,
        "evidence": [],
        "details": {"manufacturer": "Initech", "serial": "0001"},
        "releases": [],
        "interval_s": 60,
        "validity": [FROM_S, TO_S],
        "possession": possession,
    }
    fields.update(changed)
    return Enrolment(**fields)


def enrol(signer: "Key", root: "Key", **changed: "Any") -> bytes:
    return draft(signer, **changed).sign(root, ISS, signer.id)
