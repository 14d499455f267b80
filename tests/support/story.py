"""A whole handover in memory: two fleets, their devices and gateways, three validators, one file.

Everything is real evidence by keys that are the same in every run, so a test of verification
starts from a file that holds and changes one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from support.devices import VALID_S, WALL_MS, Device, Fleet, key
from tallystick.evidence import (
    cbor,
    checkpoint,
    claim,
    custody,
    enrolment,
    keycustody,
    receipt,
    tree,
)
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.enrolment import (
    CUSTODIES,
    CUSTODY_SOFTWARE,
    SUBJECT_GATEWAY,
    SUBJECT_VALIDATOR,
)
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.finding import Finding
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.genesis import Genesis
from tallystick.evidence.half import Half
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.keys import EDDSA, ES256, b64u
from tallystick.evidence.leaf import salt
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.number import from_text
from tallystick.evidence.profile import Profile, SignedProfile
from tallystick.evidence.root import format_root
from tallystick.evidence.verdict import Verdict
from tallystick.hw.software_key import FileKey
from tallystick.verify import profiles
from tallystick.verify.inputs import KnownClaim, PartySetInputs, TimeEvidence
from tallystick.verify.reconcile import find

START_MS = WALL_MS + 1000
NOW_S = WALL_MS // 1000 + 3600
FIRMWARE = bytes(range(32))


def credential_digest(credential: list[bytes]) -> bytes:
    """By which a half names a credential of one enrolment."""
    return enrolment.parse(credential[-1]).digest


def disclose(device: Device, index: int, *, embed: bool = False) -> Half:
    """The record at an index as a half, under the first checkpoint that covers it."""
    sealed = next(one for one in device.stretches if one.first <= index < one.to)
    return Half(
        sealed.records[index - sealed.first],
        salt(sealed.seed, index),
        index,
        tree.inclusion_path(device.leaves, index, sealed.to),
        sealed.checkpoint,
        list(device.credential) if embed else credential_digest(device.credential),
    )


def known_claim(device: Device, index: int, status: str = "active") -> KnownClaim:
    """The claim at an index, as a validator knows it."""
    sealed = next(one for one in device.stretches if one.first <= index < one.to)
    body = claim.parse(sealed.records[index - sealed.first])
    leaf = device.leaves[index]
    reference = claim_reference(device.id, device.epoch, index, leaf)
    identity = verify_credential(Credential(device.credential), device.fleet.roots)
    level = keycustody.current(identity).level
    return KnownClaim(reference, device.id, device.epoch, index, leaf, body, status, level)


@dataclass
class StoryValidator:
    """A validator's log in memory: entries, receipts over any of them, notes."""

    fleet: Fleet
    time_ms: int = START_MS
    entries: list[bytes] = field(default_factory=list)

    @cached_property
    def key(self) -> Any:
        return key(f"validator of {self.fleet.name}")

    @cached_property
    def note_key(self) -> Any:
        return key(f"log of {self.fleet.name}")

    @property
    def name(self) -> str:
        return self.fleet.name

    @property
    def origin(self) -> str:
        return f"{self.name}.example/log"

    @property
    def id(self) -> bytes:
        thumbprint: bytes = self.key.public_key().thumbprint()
        return thumbprint

    @cached_property
    def credential(self) -> list[bytes]:
        return self.fleet.enrol(self.key, SUBJECT_VALIDATOR)

    @property
    def line(self) -> str:
        return format_root(self.name, self.key.public_key())

    @property
    def vkey(self) -> str:
        return NoteKey(self.origin, self.note_key.public_key()).text()

    def genesis(self) -> int:
        made = Genesis(
            self.name,
            self.origin,
            self.key.public_key(),
            NoteKey(self.origin, self.note_key.public_key()),
            {},
            self.time_ms,
        )
        return self.append(made.sign(self.key, self.name, self.id))

    def append(self, data: bytes) -> int:
        self.entries.append(data)
        return len(self.entries) - 1

    def tick(self, ms: int) -> int:
        self.time_ms += ms
        return self.append(TimeEntry(self.time_ms).encode())

    @property
    def leaves(self) -> list[bytes]:
        return [tree.leaf_hash(data) for data in self.entries]

    def receipt(self, index: int) -> bytes:
        leaves = self.leaves
        signed = receipt.sign(
            self.key, self.name, self.origin, self.time_ms // 1000, tree.root_of(leaves)
        )
        return signed.inclusion(len(leaves), index, tree.inclusion_path(leaves, index))

    def note(self) -> str:
        bare = Note(self.origin, len(self.entries), tree.root_of(self.leaves), [])
        return bare.sign(self.note_key, self.origin).text()


@dataclass
class Story:
    """`item` and `x` are what the receiver claims; without `answers` it stays silent."""

    item: str = "pallet-7"
    x: str = "1.6"
    answers: bool = True
    silent: bool = True  # whether its log shows the silence
    silence_ms: int = 200  # when, after the deadline
    closing_ms: int | None = None  # the deadline that closings name, when not the profile's
    demanded: int = CUSTODY_SOFTWARE  # what the policy demands of devices' keys
    # How devices' keys (P-256 then) are held, and the evidence for it.
    held: Callable[[Fleet, FileKey], tuple[int, list[Any]]] | None = None
    profile: Profile = field(default_factory=lambda: profiles.load("handover"))
    names: tuple[str, ...] = ("insurer", "city", "lab")  # of validators

    def __post_init__(self) -> None:
        self.acme, self.borealis = Fleet("acme"), Fleet("borealis")
        self.fleets = [self.acme, self.borealis]
        alg = EDDSA if self.held is None else ES256
        self.giver = self.acme.device("arm-1", alg, self.held)
        self.receiver = self.borealis.device("agv-9", alg, self.held)
        self.parties = {"giver": [self.giver.id], "receiver": [self.receiver.id]}
        self.gateways = {
            fleet.name: fleet.member("gateway", SUBJECT_GATEWAY) for fleet in self.fleets
        }
        self.custody: list[bytes] = []
        self.validators = [StoryValidator(Fleet(name)) for name in self.names]
        self._record()
        for validator in self.validators:
            self._log(validator)

    def _claim(self, device: Device, role: str, name: str, item: str, x: str) -> int:
        position = [from_text(x), from_text("2.25")]
        device.claim(
            "order-4711", role, name, self.parties, self.profile.digest, item=item,
            position_m=position,
        )  # fmt: skip
        return len(device.leaves) + len(device.pending) - 1

    def _record(self) -> None:
        for device in (self.giver, self.receiver):
            device.event("epoch", previous=None, reason="new")
            device.event("boot", boot=1, cause="power", firmware=FIRMWARE, config=None)
            device.decision("grip")
        self.gave = self._claim(self.giver, "giver", "released", "pallet-7", "1.5")
        self.giver.seal()
        self.took: int | None = None
        if self.answers:
            self.took = self._claim(self.receiver, "receiver", "acquired", self.item, self.x)
        self.receiver.seal()
        self._custody(self.receiver, START_MS + 500)

    def _custody(self, device: Device, time_ms: int) -> None:
        signer, _ = self.gateways[device.fleet.name]
        made = CustodyReceipt(device.epoch, 0, device.size, device.root, True, time_ms)
        data = made.sign(signer, device.fleet.name, device.id)
        device.custody = custody.parse(data).digest
        self.custody.append(data)

    def _checkpoint(self, validator: StoryValidator, device: Device, number: int) -> int:
        return validator.append(device.stretches[number].checkpoint)

    def _log(self, validator: StoryValidator) -> None:
        validator.genesis()
        validator.tick(0)
        entries = [self._checkpoint(validator, self.giver, 0)]
        entries.append(self._checkpoint(validator, self.receiver, 0))
        claims = [known_claim(self.giver, self.gave)]
        first = self._logged_claim(validator, self.giver, self.gave, entries[0])
        if self.took is not None:
            claims.append(known_claim(self.receiver, self.took))
            self._logged_claim(validator, self.receiver, self.took, entries[1])
        silence: list[TimeEvidence] = []
        if self.took is None:
            deadline_ms = self.profile.deadline_ms
            validator.tick(deadline_ms)
            if self.silent:
                silence = [self._silence(validator, deadline_ms)]
            key_of = claims[0].claim
            assert key_of is not None
            closing = Closing(
                key_of.namespace,
                key_of.interaction_id(),
                key_of.party_set(),
                first,
                deadline_ms if self.closing_ms is None else self.closing_ms,
            )
            validator.append(closing.encode())
        finding = self.finding(claims, silence)
        size = len(validator.entries)
        validator.tick(10)
        verdict = Verdict(finding, size, None, [], validator.time_ms)
        validator.append(verdict.sign(validator.key, validator.name, verdict.subject()))

    def _logged_claim(
        self, validator: StoryValidator, device: Device, index: int, checkpoint_at: int
    ) -> int:
        head = checkpoint.parse(validator.entries[checkpoint_at])
        path = tree.inclusion_path(device.leaves, index, head.size)
        return validator.append(
            LoggedClaim(
                device.id, device.epoch, index, device.leaves[index], checkpoint_at, path
            ).encode()
        )

    def _silence(self, validator: StoryValidator, deadline_ms: int) -> TimeEvidence:
        if len(self.receiver.stretches) == 1:
            # After the deadline it says again what its head is, naming custody of then.
            self._custody(self.receiver, START_MS + deadline_ms + self.silence_ms)
            self.receiver.seal()
        validator.append(self.receiver.stretches[1].checkpoint)
        head = checkpoint.parse(self.receiver.stretches[1].checkpoint)
        assert head.custody is not None
        return TimeEvidence(
            self.receiver.id, head.digest, head.custody, START_MS + deadline_ms + self.silence_ms
        )

    def finding(self, claims: list[KnownClaim], silence: list[TimeEvidence]) -> Finding:
        body = claims[0].claim
        assert body is not None
        return find(
            PartySetInputs(
                self.profile,
                body.namespace,
                body.interaction_id(),
                self.parties,
                claims,
                [],
                closed=True,
                silence=silence,
            )
        )

    # --- what is handed over -----------------------------------------------------------------

    def evidence(
        self, *, credentials: bool = True, note: str | None = "order 4711"
    ) -> EvidenceFile:
        """The whole story as one file."""
        halves = [disclose(self.giver, index) for index in (1, self.gave)]
        halves.append(disclose(self.receiver, 1))
        if self.took is not None:
            halves.append(disclose(self.receiver, self.took))
        given: list[list[bytes]] = []
        if credentials:
            given = [self.giver.credential, self.receiver.credential]
            given += [credential for _, credential in self.gateways.values()]
            given += [validator.credential for validator in self.validators]
        signer, _ = self.gateways["acme"]
        head = GatewayHead(1, bytes(32), START_MS).sign(
            signer, "acme", signer.public_key().thumbprint()
        )
        return EvidenceFile(
            given,
            [self.profile.encode()],
            halves,
            [entry for validator in self.validators for entry in self.entries(validator)],
            list(self.custody),
            [validator.note() for validator in self.validators],
            note,
            [head],
        )

    @staticmethod
    def entries(validator: StoryValidator) -> list[tuple[bytes, list[bytes]]]:
        """All entries of a log with a receipt each."""
        return [(data, [validator.receipt(at)]) for at, data in enumerate(validator.entries)]

    @property
    def policy(self) -> str:
        """A policy that the story fulfils when it matches."""
        return self._policy(pinned=True)

    @property
    def root_policy(self) -> str:
        """As policy, with validators by the roots that enrolled them instead of by their keys."""
        return self._policy(pinned=False)

    def _policy(self, *, pinned: bool) -> str:
        lines = [
            f'roots = ["{self.acme.root_line}", "{self.borealis.root_line}"]',
            f'devices.custody = "{CUSTODIES[self.demanded]}"',
            "[profiles]",
            f'digests = ["{digest_text(self.profile)}"]',
            "[validators]",
            "at_least = 2",
        ]
        for validator in self.validators:
            lines += [
                "[[validators.accept]]",
                f'organisation = "{validator.name.title()}"',
            ]
            if pinned:
                lines += [f'key = "{validator.line}"', f'note_key = "{validator.vkey}"']
            else:
                lines += [f'root = "{validator.fleet.root_line}"']
        return "\n".join(lines) + "\n"

    def signed_profile(self, fleet: Fleet) -> bytes:
        """The profile as a statement by a fleet's root."""
        signed = SignedProfile(self.profile)
        return signed.sign(fleet.root, fleet.name, signed.subject())


def digest_text(profile: Profile) -> str:
    """As policies name a profile."""
    return b64u(profile.digest)


def reencode(file: EvidenceFile) -> bytes:
    """The bytes of a file that a test has changed."""
    return cbor.encode(file.values())


__all__ = ["NOW_S", "VALID_S", "Story", "StoryValidator", "disclose", "known_claim", "reencode"]
