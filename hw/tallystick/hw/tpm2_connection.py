# CPython only
# Needs an extra: tpm
"""A connection to a TPM 2.0, with what is found, used and flushed by it (TSS 2.0 ESAPI)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_CAP,
    TPM2_PT,
    TPM2_SE,
    TPM2B_AUTH,
    TPM2B_PUBLIC,
    TPMA_PERMANENT,
    TPMA_SESSION,
    TCTILdr,
    TSS2_Exception,
)

from tallystick.hw import tpm2_library  # noqa: F401  # its setting comes before the library

_AUTH_SET = {
    "owner": TPMA_PERMANENT.OWNERAUTHSET,
    "endorsement": TPMA_PERMANENT.ENDORSEMENTAUTHSET,
}


class Connection:
    """`esapi` for commands; objects are found by handle, and transient ones always flushed."""

    def __init__(self, tcti: str) -> None:
        self._tcti = TCTILdr.parse(tcti)
        try:
            self.esapi = ESAPI(self._tcti)
        except BaseException:
            self._tcti.close()
            raise
        self._found: "dict[int, Any]" = {}

    def close(self) -> None:
        """Give the TPM back."""
        self.esapi.close()
        self._tcti.close()

    def occupied(self, handle: int) -> bool:
        """Whether the TPM has anything at this persistent handle or NV index."""
        _, given = self.esapi.get_capability(TPM2_CAP.HANDLES, handle, 1)
        return [int(h) for h in given.data.handles][:1] == [handle]

    def property(self, which: int) -> int:
        """A fixed or variable property (TPM 2.0 Library, part 2, 6.13); 0 where it has none."""
        _, given = self.esapi.get_capability(TPM2_CAP.TPM_PROPERTIES, which, 1)
        for one in given.data.tpmProperties:
            if int(one.property) == which:
                return int(one.value)
        return 0

    def demands(self, hierarchy: str) -> bool:
        """Whether the hierarchy `owner` or `endorsement` has an authorisation."""
        return bool(self.property(int(TPM2_PT.PERMANENT)) & int(_AUTH_SET[hierarchy]))

    def tries(self) -> "tuple[int, int]":
        """(wrong PINs that the TPM still takes, how many it takes in all)."""
        most = self.property(int(TPM2_PT.MAX_AUTH_FAIL))
        return max(0, most - self.property(int(TPM2_PT.LOCKOUT_COUNTER))), most

    def tries_left(self) -> str:
        """As tries, for a message."""
        pause_s = self.property(int(TPM2_PT.LOCKOUT_INTERVAL))
        return "%d of %d tries left, one more every %d s" % (*self.tries(), pause_s)

    def persistent(self, handle: int) -> "Any":
        """The ESYS_TR of a persistent key; TSS2_Exception where there is none."""
        # Kept, since finding is a command of its own; who signs checks what comes out.
        if handle not in self._found:
            self._found[handle] = self.esapi.tr_from_tpmpublic(handle)
        return self._found[handle]

    def public(self, handle: int) -> "Any":
        """The TPMT_PUBLIC of a persistent key, asked anew."""
        found = self._found.pop(handle, None)
        if found is not None:
            self.esapi.tr_close(found)
        public, _, _ = self.esapi.read_public(self.persistent(handle))
        return public.publicArea

    @contextmanager
    def flushing(self, handle: "Any") -> "Iterator[Any]":
        """A transient key or session, whose slot is given back in any case."""
        try:
            yield handle
        except BaseException:
            try:
                self.esapi.flush_context(handle)
            except TSS2_Exception:
                pass  # a TPM that is gone or was reset has no slot to give back; say what was first
            raise
        else:
            self.esapi.flush_context(handle)

    @contextmanager
    def authorised(self, handle: "Any", pin: "bytes | None") -> "Iterator[Any]":
        """A session that authorises the use of `handle`.

        With a PIN an HMAC session, so that the PIN itself never travels to the TPM.
        """
        if not pin:
            yield ESYS_TR.PASSWORD
            return
        self.esapi.tr_set_auth(handle, TPM2B_AUTH(pin))
        session = self.esapi.start_auth_session(
            ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.HMAC, None, TPM2_ALG.SHA256
        )
        self.esapi.trsess_set_attributes(session, TPMA_SESSION.CONTINUESESSION)
        with self.flushing(session):
            yield session

    @contextmanager
    def primary(self, template: TPM2B_PUBLIC, hierarchy: "Any", auth: "bytes | None") -> "Any":
        """(handle, TPM2B_PUBLIC) of a primary key, made from the hierarchy's seed."""
        with self.authorised(hierarchy, auth) as session:
            handle, public, _, _, _ = self.esapi.create_primary(
                None, template, hierarchy, session1=session
            )
        with self.flushing(handle):
            yield handle, public

    @contextmanager
    def encrypting(self, key: "Any") -> "Iterator[Any]":
        """A session that hides a command's first parameter from the bus, salted with `key`."""
        session = self.esapi.start_auth_session(
            key, ESYS_TR.NONE, TPM2_SE.HMAC, "aes128cfb", TPM2_ALG.SHA256
        )
        self.esapi.trsess_set_attributes(
            session, TPMA_SESSION.CONTINUESESSION | TPMA_SESSION.DECRYPT
        )
        with self.flushing(session):
            yield session
