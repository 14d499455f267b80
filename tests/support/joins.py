"""Codes, invitations, requests and answers made by hand with the fixed keys of support.examples."""

import json
from collections.abc import Callable
from typing import Any

from support import examples as ex
from support import heldkeys
from tallystick.evidence import (
    enrolment,
    enrolmentrequest,
    invitation,
    joinanswer,
    joincode,
    joinrequest,
    queueorder,
    root,
)
from tallystick.evidence.digest import sha256
from tallystick.evidence.joincode import Code

ROOT_LINE = root.format_root(ex.GLOBEX, ex.GLOBEX_ROOT.public_key())
NONCE = sha256(b"nonce of a join request")[:16]
CHALLENGE = sha256(b"challenge of a gateway")
SETTINGS = {"fleet": ex.GLOBEX, "uplink": "mqtt://broker.globex:1883", "checkpoint_s": 5}


def code(name: str = "code", line: str = ROOT_LINE) -> Code:
    """A code that is the same in every run."""
    return Code(sha256(name.encode())[:15], joincode.commit(line))


def request_of(signer: ex.Signer, iss: str = ex.GLOBEX, **details: str) -> bytes:
    """An enrolment request of a software key."""
    key = signer.public_key()
    possession = signer.sign(enrolment.possession_message(key.alg, signer.id, iss))
    asked = enrolmentrequest.EnrolmentRequest(iss, signer.id, key, 0, [], possession, details)
    return asked.encode()


def join(request: bytes | None = None, by: Code | None = None) -> joinrequest.JoinRequest:
    """The receiver asks globex, with evidence of an ATECC608."""
    made = heldkeys.request().encode() if request is None else request
    return joinrequest.make(by or code(), NONCE, made)


def invite(uses: int = 1, by: Code | None = None) -> bytes:
    """Globex invites who has the code."""
    valid = [ex.TIME_S - 1000, ex.TIME_S + 86_400]
    made = by or code()
    unsigned = invitation.Invitation(made.name(), made.door_key(), uses, valid)
    return unsigned.sign(ex.GLOBEX_ROOT, ex.GLOBEX, _name(made))


def _name(made: Code) -> str:
    from tallystick.evidence.keys import b64u  # used here only

    return b64u(made.name())


def answer(
    to: joinrequest.JoinRequest | None = None, settings: str | None = None
) -> joinanswer.JoinAnswer:
    """Globex lets the receiver in; not signed yet."""
    held = heldkeys.enrol_held(3, [["atecc608-config", heldkeys.atecc608().encode()]])
    profiles = {"handover@1.cbor": ex.the_profile().device_profile().encode()}
    text = json.dumps(SETTINGS) if settings is None else settings
    asked = to or join()
    return joinanswer.JoinAnswer(
        ex.RECEIVER.id, asked.digest, [held.encode()], text, profiles, b"a certificate"
    )


def signed_answer() -> bytes:
    return answer().sign(ex.GLOBEX_ROOT, ex.GLOBEX, ex.RECEIVER.id)


def order(after: int = 7) -> bytes:
    """Globex's root asks the gateway who waits."""
    unsigned = queueorder.QueueOrder(CHALLENGE, after)
    return unsigned.sign(ex.GLOBEX_ROOT, ex.GLOBEX, ex.GATEWAY.id)


def examples() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    """For examples.everything(): name, rule of the CDDL, bytes, parser."""
    return [
        ("invitation", "invitation", invite(), invitation.parse),
        ("join request", "join-request", join().encode(), joinrequest.parse),
        ("join answer", "join-answer", signed_answer(), joinanswer.parse),
        ("queue order", "queue-order", order(), queueorder.parse),
    ]
