# CPython only
# Needs an extra: tpm
"""A P-256 key in a TPM 2.0, at a persistent handle."""

import struct
from typing import TYPE_CHECKING, Any

from tpm2_pytss import TPM2_PT, TPM2_PT_FIRMWARE

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.evidence.keys import ES256, PublicKey
from tallystick.hw import tpm2_attest, tpm2_counter, tpm2_keys
from tallystick.hw.counter import Counter
from tallystick.hw.secret import from_environment
from tallystick.hw.signer import Signer
from tallystick.hw.tpm2_connection import Connection
from tallystick.hw.tpm2_context import Job, Tpm
from tallystick.hw.tpm2_uri import Settings

if TYPE_CHECKING:
    from tallystick.hw.signer import Secrets


class Tpm2Key(Signer):
    """Signs in the TPM; opened by Signer.from_uri, which finds the key and asks for its PIN."""

    custody = "tpm"
    alg = ES256
    # In the TPM's thread, for as long as the TPM takes.
    waits = 2

    def __init__(self, settings: Settings, secrets: "Secrets | None" = None) -> None:
        self._settings = settings
        self._secrets = secrets
        self._what = settings.name
        self._tpm = Tpm(settings.tcti)
        self._pin: "bytes | None" = None
        self._job: "Job | None" = None
        self._message = b""
        self._signature: "bytes | None" = None
        # A PIN that was refused is not tried again: each try counts, and the TPM locks.
        self._refused_pin: "KeyDriverError | None" = None
        try:
            self._public = self._open()
        except BaseException:
            self._tpm.close()
            raise

    def __repr__(self) -> str:
        return "Tpm2Key(0x%08x, %r)" % (self._settings.handle, self._public)

    def _open(self) -> PublicKey:
        public = self._run(lambda c: c.public(self._settings.handle))
        key = tpm2_keys.point(public, self._what)
        tpm2_keys.check_ours(public, self._what)
        if self._settings.pin:
            self._run(self._check_tries)
            self._pin = pin(self._settings, self._secrets)
        elif tpm2_keys.demands_pin(public):
            raise KeyDriverError("no-pin", self._what + ": has a PIN; say pin=yes in its URI")
        return key

    def _check_tries(self, connection: Connection) -> None:
        left, _ = connection.tries()
        if left <= 1:
            # A service that is started again and again must not be what locks the TPM.
            raise KeyDriverError(
                "pin-final-try" if left else "pin-locked",
                "%s: %s; a PIN is not tried before there are more"
                % (self._what, connection.tries_left()),
            )

    def public_key(self) -> PublicKey:
        """The public half, as the TPM gave it when the key was opened."""
        return self._public

    def begin(self, message: bytes) -> None:
        """Start to sign; the TPM takes 30 to 200 ms, in a thread of its own."""
        if self._job is not None:
            raise KeyDriverError("busy", self._what + ": is still signing")
        self._signature = None
        self._message = message
        handle, secret = self._settings.handle, self._pin
        self._job = self._start(lambda c: tpm2_keys.sign(c, handle, secret, message))

    def poll(self) -> bool:
        """Whether signature() has it; never waits."""
        if self._job is None:
            if self._signature is None:
                raise KeyDriverError("not-signing", self._what + ": signs nothing: begin() first")
            return True
        try:
            if not self._job.ready():
                return False
        except KeyDriverError:
            self._job = None
            raise
        self._take(self._job)
        return True

    def signature(self) -> bytes:
        """64 bytes, r || s with low s; once for each begin()."""
        signature = self._signature
        if signature is None:
            raise KeyDriverError("not-ready", self._what + ": has no signature ready")
        self._signature = None
        return signature

    def sign(self, message: bytes) -> bytes:
        """begin, poll and signature in one; sleeps while the TPM signs."""
        self.begin(message)
        if self._job is not None:
            self._take(self._job)
        return self.signature()

    def _take(self, job: Job) -> None:
        self._job = None
        signature: bytes = self._result(job)
        # The handle may have another key by now (the TPM was cleared, somebody evicted ours), and
        # a fault in the TPM may give a signature that betrays its key.
        try:
            self._public.verify(signature, self._message)
        except Unverified:
            raise KeyDriverError(
                "wrong-key", self._what + ": the key at this handle is another one now"
            ) from None
        self._signature = signature

    def counter(self) -> Counter:
        """At NV index 0x01800000 + the handle's last 22 bits; made with the key, else now."""
        index, secret = self._settings.counter, self._pin
        if not self._run(lambda c: c.occupied(index)):
            owner = authorisation(self._tpm, self._what, self._secrets)
            self._run(lambda c: tpm2_counter.define(c, index, secret, owner))
        return tpm2_counter.Tpm2Counter(self._tpm, index, secret)

    def evidence(self, context: bytes) -> "list[list[Any]]":
        """`tpm2-certify` when the URI names an attestation key, else none.

        context: 32 bytes (enrolment.custody_context).
        """
        if self._settings.ak is None:
            return []
        vouched = tpm2_attest.read_attester(self._settings)
        handle, ak, secret = self._settings.handle, self._settings.ak, self._pin
        parts = self._run(lambda c: tpm2_attest.certify(c, handle, ak, secret, context))
        return [tpm2_attest.evidence(parts, vouched, self._what)]

    def self_test(self) -> "list[str]":
        """What was tried and works, a sentence each; KeyDriverError says what does not."""
        said: "list[str]" = self._run(_test_tpm)
        public = self._run(lambda c: c.public(self._settings.handle))
        tpm2_keys.check_ours(public, self._what)
        said.append("%s was made in the TPM and cannot leave it" % self._what)
        said += super().self_test()
        index = self._settings.counter
        if self._run(lambda c: c.occupied(index)):
            said.append("its counter, NV index 0x%08x, is at %d" % (index, self.counter().read()))
        else:
            said.append("it has no counter yet; NV index 0x%08x is free for it" % index)
        return said

    def close(self) -> None:
        """Give the TPM back."""
        self._job = None
        self._tpm.close()

    def _start(self, work: "Any") -> Job:
        if self._refused_pin is not None:
            # Made anew, since each raise of one object makes its traceback longer.
            raise KeyDriverError(self._refused_pin.reason, self._refused_pin.message)
        return self._tpm.start(self._what, work)

    def _run(self, work: "Any") -> "Any":
        return self._result(self._start(work))

    def _result(self, job: Job) -> "Any":
        try:
            return job.result()
        except KeyDriverError as error:
            if error.reason == "wrong-pin":
                self._refused_pin = error
            raise


def pin(settings: Settings, secrets: "Secrets | None") -> bytes:
    """The PIN: from the caller, else from TALLY_PIN, as a robot that starts alone has it.

    KeyDriverError never shows it.
    """
    text = secrets(settings.name) if secrets else None
    if not text:
        text = from_environment()
    if not text:
        raise KeyDriverError(
            "no-pin", settings.name + ": its PIN is needed: TALLY_PIN, or a command's --pin-file"
        )
    data = text.encode()
    # The TPM takes trailing zero bytes off an authValue.
    if len(data) > tpm2_keys.PIN_BYTES_MAX or data.endswith(b"\0"):
        raise KeyDriverError(
            "bad-pin", "%s: a PIN has at most %d bytes" % (settings.name, tpm2_keys.PIN_BYTES_MAX)
        )
    return data


def authorisation(
    tpm: Tpm, what: str, secrets: "Secrets | None", hierarchy: str = "owner"
) -> "bytes | None":
    """What making keys and counters needs where the TPM's owner has set a password.

    hierarchy: `owner`, or `endorsement`, which the challenge for an attestation key uses.
    """
    if not tpm.run(what, lambda c: c.demands(hierarchy)):
        return None
    text = secrets("%s of the TPM at %s" % (hierarchy, tpm.tcti)) if secrets else None
    if not text:
        raise KeyDriverError(
            "no-pin", "%s: the TPM's %s has set an authorisation; it is needed" % (what, hierarchy)
        )
    return text.encode()


def _test_tpm(connection: Connection) -> "list[str]":
    connection.esapi.self_test(full_test=False)
    maker = struct.pack(">I", connection.property(int(TPM2_PT.MANUFACTURER)))
    firmware = connection.property(int(TPM2_PT_FIRMWARE.VERSION_1))
    name = maker.rstrip(b"\0 ").decode("ascii", "replace")
    return [
        "a TPM 2.0 of maker %s answers, firmware %d.%d" % (name, firmware >> 16, firmware & 0xFFFF),
        "its self-test passed",
    ]
