# claim() and accept(): loaded when first used, since a sensor makes no claims.

from tallystick.evidence.claim import Claim, check_parties, declare
from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError, Unverified
from tallystick.evidence.limits import HALF_BYTES_MAX, RECORD_DEVICE_BYTES_MAX
from tallystick.recorder.handle import Handle, add_sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.credential import Keyring
    from tallystick.evidence.deviceprofile import DeviceProfile
    from tallystick.recorder.ledger import Ledger

PROFILES_MAX = 8
# Of a half beside record and path: checkpoint, salt, credential's digest, framing.
HALF_ROOM_BYTES = 640
HASH_BYTES = 34
SUFFIX = ".cbor"
# ENOENT and ENOTDIR; what else open() says is a fault of the flash.
MISSING = (2, 20)


class Claims:
    """What claims need of the device's configuration."""

    def __init__(
        self,
        ledger: "Ledger",
        namespace: str,
        profiles: str | None,
        credential: list[bytes],
        roots: list[str],
    ) -> None:
        self._ledger = ledger
        self._namespace = namespace
        self._folder = profiles
        self._credential = credential
        self._roots = roots
        self._profiles: "dict[str, DeviceProfile]" = {}
        self._keyring: "Keyring | None" = None

    def profile(self, name: str) -> "DeviceProfile":
        """The device profile `name@version`, from its file."""
        known = self._profiles.get(name)
        if known is not None:
            return known
        from tallystick.evidence.deviceprofile import parse  # noqa: PLC0415  # rarely

        if type(name) is not str or "/" in name or self._folder is None:
            raise Malformed("bad-value", "no folder of profiles is configured, or a bad name")
        try:
            with open(self._folder + "/" + name + SUFFIX, "rb") as file:
                data = file.read()
        except OSError as error:
            if error.errno in MISSING:
                raise Malformed("bad-value", "profile %s is not provisioned on this device" % name)
            raise
        try:
            profile = parse(data)
        except Malformed as error:
            raise OSError(5, "profile %s is damaged: %s" % (name, error))
        if "%s@%d" % (profile.name, profile.version) != name:
            raise Malformed("bad-value", "the file of profile %s holds another one" % name)
        if len(self._profiles) >= PROFILES_MAX:
            self._profiles.clear()
        self._profiles[name] = profile
        return profile

    def claim(
        self,
        profile_name: str,
        interaction: str | bytes,
        role: str,
        claim: str,
        peers: "dict[str, Any]",
        relied: "list[Any]",
        constraints: "dict[str, Any]",
        interval: "tuple[int, ...] | None",
        fields: "dict[str, Any]",
    ) -> Handle:
        """Journal and seal a claim; the handle's result is its half."""
        ledger = self._ledger
        if not self._credential:
            raise CouldNotCheck("not-enrolled", "claims need the credential of an enrolled device")
        handle = Handle()
        try:
            profile = self.profile(profile_name)
        except OSError as error:
            # The flash's fault, not the caller's: seen in health, and in the log as a gap.
            from tallystick.recorder.troubles import drop  # noqa: PLC0415  # rarely

            ledger.fault("flash", "profile", error)
            drop(ledger, None)
            handle.lose("flash")
            return handle
        canonical = profile.fields(role, claim, fields)
        units = profile.rules(role, claim)
        rules = {}
        for name, rule in constraints.items():
            # The profile's unit stands where the caller gives none.
            unit = units[name][1] if name in units else None
            rules[name] = rule + (unit,) if type(rule) is tuple and len(rule) == 2 else rule
        record = Claim(
            ledger.clock.uptime_ms(),
            self._namespace,
            interaction,
            profile.digest,
            role,
            claim,
            canonical,
            declare(canonical, rules),
            self._parties(profile, role, peers),
            self._interval(interval),
            sorted(set([_reference(one) for one in relied])),  # noqa: C403  # costs less code there
        ).encode()
        if len(record) > RECORD_DEVICE_BYTES_MAX:
            raise Malformed("too-large", "a record is longer than 4096 bytes")
        # Before anything is recorded: the path of the newest leaf is the tree's edge before it.
        edge = ledger.log.tree.edge
        if len(record) + HALF_ROOM_BYTES + HASH_BYTES * len(edge) > HALF_BYTES_MAX:
            raise Malformed("too-large", "a claim whose half would be longer than 4000 bytes")
        handle.make = lambda checkpoint: self._half(record, handle, checkpoint)
        add_sealed(ledger, record, handle)
        return handle

    def _parties(
        self, profile: "DeviceProfile", role: str, peers: "dict[str, Any]"
    ) -> dict[str, list[bytes]]:
        from tallystick.evidence.keys import device_from_text  # noqa: PLC0415  # rarely

        if type(peers) is not dict:
            raise Malformed("bad-type", "peers is a dict of role to id or list of ids")
        parties: dict[str, list[bytes]] = {}
        for name, given in peers.items():
            if name not in profile.claims:
                # It would only come out as a verdict that nobody wants.
                raise Malformed("bad-value", "peers: the profile has no role %r" % name)
            ids = list(given) if type(given) in (list, tuple) else [given]
            parties[name] = [device_from_text(one) if type(one) is str else one for one in ids]
        mine = parties.setdefault(role, [])
        if self._ledger.device not in mine:
            mine.append(self._ledger.device)
        for ids in parties.values():
            ids.sort()
        return check_parties(parties)

    def _interval(self, given: "tuple[int, ...] | None") -> list[int] | None:
        wall = self._ledger.clock.wall()
        if given is None:
            # The moment of the call, where the clock is set.
            return [wall[0], wall[0], wall[1]] if wall else None
        if type(given) not in (tuple, list) or not 2 <= len(given) <= 3:
            raise Malformed("bad-type", "interval is (begin_ms, end_ms[, uncertainty_ms])")
        return list(given) + ([wall[1] if wall else 0] if len(given) == 2 else [])

    def _half(self, record: bytes, handle: Handle, checkpoint: bytes) -> bytes:
        from tallystick.evidence.half import Half  # noqa: PLC0415  # rarely

        index, salt, path = handle.place
        half = Half(record, salt, index, path, checkpoint, self._credential)
        try:
            return half.encode()
        except Malformed:
            # Too large with the whole credential: its digest, for a receiver that has it.
            from tallystick.evidence.credential import (  # noqa: PLC0415  # rarely
                Credential,
                digests_of,
            )

            digest = digests_of(Credential(self._credential))[-1]
            return Half(record, salt, index, path, checkpoint, digest).encode()

    # Accepting.

    def accepting(self, data: bytes, handle: Handle) -> "Generator[None, None, Any]":
        """Verify a half in bounded steps, journal and seal it; its value is the VerifiedHalf."""
        from tallystick.evidence import half as halves  # noqa: PLC0415  # rarely
        from tallystick.evidence.accepted import AcceptedHalf  # noqa: PLC0415  # rarely

        try:
            if type(data) is not bytes or len(data) > HALF_BYTES_MAX:
                raise Malformed("bad-type", "a half is bytes, at most %d" % HALF_BYTES_MAX)
            verified = yield from halves.verifying(halves.parse(data), self.keyring())
            ledger = self._ledger
            if verified.device == ledger.device:
                raise Unverified("not-a-party", "the half is this device's own")
            if not any([ledger.device in ids for ids in verified.claim.parties.values()]):  # noqa: C419
                raise Unverified("not-a-party", "this device is no party of the half's claim")
        except TallyError as error:
            handle.fail(error)
            return None
        handle.make = lambda _: _kept(verified)
        record = AcceptedHalf(ledger.clock.uptime_ms(), data).encode()
        add_sealed(ledger, record, handle, verified)
        return verified

    def keyring(self) -> "Keyring":
        """The pinned fleet roots, and who was verified against them."""
        wall = self._ledger.clock.wall()
        if self._keyring is None:
            from tallystick.evidence.credential import Keyring  # noqa: PLC0415  # rarely
            from tallystick.evidence.root import parse_root  # noqa: PLC0415  # rarely

            self._keyring = Keyring(dict([parse_root(line) for line in self._roots]))
        # Where the clock is not set the validity's time cannot be checked here; validators do.
        self._keyring.at_s = wall[0] // 1000 if wall else None
        return self._keyring


def _kept(verified: "Any") -> "Any":
    verified.kept = True
    return verified


def _reference(relied: "Any") -> bytes:
    if type(relied) is bytes and len(relied) == 32:
        return relied
    if type(relied) is bytes:
        from tallystick.evidence import ids  # noqa: PLC0415  # rarely
        from tallystick.evidence.checkpoint import parse  # noqa: PLC0415  # rarely
        from tallystick.evidence.half import parse as parse_half  # noqa: PLC0415  # rarely
        from tallystick.evidence.leaf import leaf  # noqa: PLC0415  # rarely

        half = parse_half(relied)
        head = parse(half.checkpoint)
        return ids.claim_reference(
            head.device, head.epoch, half.index, leaf(half.salt, half.record)
        )
    reference: "Any" = getattr(relied, "reference", None)
    if type(reference) is not bytes:
        raise Malformed("bad-type", "relied holds halves, accepted halves or references")
    return reference
