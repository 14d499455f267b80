"""A gateway's queue and door without a broker, and an operator who holds the fleet root."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from support.devices import VALID_S, Fleet, key
from tallystick.evidence import enrolmentrequest, joinanswer, joincode, joinrequest, queueorder
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import Enrolment
from tallystick.evidence.invitation import Invitation
from tallystick.evidence.joincode import Code
from tallystick.evidence.joinrequest import JoinRequest
from tallystick.evidence.keys import b64u
from tallystick.gateway.joinconfig import JoinConfig
from tallystick.gateway.joindoor import JoinDoor
from tallystick.gateway.joins import Joins
from tallystick.gateway.store import Store
from tallystick.hw.software_key import FileKey

GATEWAY = sha256(b"the gateway's id")


def code_of(fleet: Fleet, name: str = "code") -> Code:
    """A code that is the same in every run."""
    return Code(sha256(name.encode())[:15], joincode.commit(fleet.root_line))


def ask(fleet: Fleet, code: Code, signer: FileKey, nonce: str = "nonce") -> JoinRequest:
    """What a device sends."""
    request = enrolmentrequest.make(signer, fleet.name)
    return joinrequest.make(code, sha256(nonce.encode())[:16], request.encode())


def invite(
    fleet: Fleet, code: Code, uses: int = 1, valid_s: tuple[int, int] | None = None
) -> bytes:
    """What the operator hands in for a code."""
    now_s = int(time.time())
    validity = valid_s or (now_s - 86_400, now_s + 86_400)
    made = Invitation(code.name(), code.door_key(), uses, validity)
    return made.sign(fleet.root, fleet.name, b64u(code.name()))


def let_in(fleet: Fleet, asked: JoinRequest, signer: FileKey) -> bytes:
    """The root's answer to a request."""
    credential = fleet.enrol(signer)
    settings = json.dumps({"fleet": fleet.name})
    answer = joinanswer.JoinAnswer(
        signer.public_key().thumbprint(), asked.digest, credential, settings, {}, None
    )
    return answer.sign(fleet.root, fleet.name, signer.public_key().thumbprint())


def order(fleet: Fleet, challenge: bytes, after: int = 0, gateway: bytes = GATEWAY) -> bytes:
    """The operator asks who waits."""
    return queueorder.QueueOrder(challenge, after).sign(fleet.root, fleet.name, gateway)


class Queue:
    """A store with a queue; `learnt` is what the ingest worker would be given."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.fleet = fleet
        self.path = folder / "gateway.sqlite"
        self.learnt: list[list[bytes]] = []
        self.open()

    def open(self) -> None:
        self.store = Store(self.path)
        root = self.fleet.root.public_key()
        self.joins = Joins(self.store, self.fleet.name, root, GATEWAY, self.learnt.append)

    def close(self) -> None:
        self.joins.close()
        self.store.close()

    def waiting(self) -> list[bytes]:
        """Digests of what the operator sees."""
        rows, _ = self.joins.queue(order(self.fleet, self.joins.challenge()))
        return [joinrequest.parse(row.data).digest for row in rows]


@contextlib.contextmanager
def door(queue: Queue, folder: Path, **changed: object) -> Iterator[JoinDoor]:
    """An open door at a free port."""
    config = JoinConfig(host="127.0.0.1", port=0, inbox=folder / "join", **changed)  # type: ignore[arg-type]
    opened = JoinDoor(config, queue.joins, "gate")
    opened.start()
    try:
        yield opened
    finally:
        opened.stop()


def robot(name: str) -> FileKey:
    """A device's key."""
    return key(f"joining {name}")


class Operator:
    """Lets in who waits, every time that `look` is called, as `tally fleet approve` would."""

    def __init__(self, queue: Queue, **settings: object) -> None:
        self._queue = queue
        self._settings = {"fleet": queue.fleet.name, "roots": [queue.fleet.root_line], **settings}
        self.ca: bytes | None = None
        self.requests: list[bytes] = []

    def look(self) -> int:
        """Answer all that waits; how many."""
        queue, fleet = self._queue, self._queue.fleet
        rows, _ = queue.joins.queue(order(fleet, queue.joins.challenge()))
        for row in rows:
            self.requests.append(row.data)
            refused = queue.joins.take(self.answer(row.data))
            if refused is not None:
                raise AssertionError(refused)
        return len(rows)

    def answer(self, data: bytes) -> bytes:
        """The signed answer to a join request."""
        fleet = self._queue.fleet
        asked = joinrequest.parse(data)
        wanted = enrolmentrequest.parse(asked.request).verify(fleet.name)
        enrolled = Enrolment(
            0, wanted.id, wanted.key, 0, [], wanted.details, [], 60, VALID_S, wanted.possession
        )
        credential = [enrolled.sign(fleet.root, fleet.name, wanted.id)]
        made = joinanswer.JoinAnswer(
            wanted.id,
            asked.digest,
            credential,
            json.dumps(self._settings),
            {"handover@1.cbor": b"\x00"},
            self.ca,
        )
        return made.sign(fleet.root, fleet.name, wanted.id)
