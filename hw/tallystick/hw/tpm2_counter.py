# CPython only
# Needs an extra: tpm
"""A TPM 2.0's monotonic counter: an NV index of type counter (part 1, 37.2.4)."""

# A counter that somebody deletes and makes anew goes on above the highest value that any counter
# of this TPM ever had (part 3, 31.8), so it cannot be counted back by that.

from typing import Any

from tpm2_pytss import (
    ESYS_TR,
    TPM2_ALG,
    TPM2_NT,
    TPM2_RC,
    TPM2B_AUTH,
    TPM2B_NV_PUBLIC,
    TPMA_NV,
    TPMS_NV_PUBLIC,
    TSS2_Exception,
)

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import tpm2_errors as errors
from tallystick.hw.counter import Counter
from tallystick.hw.tpm2_connection import Connection
from tallystick.hw.tpm2_context import Job, Tpm

_SIZE = 8
_USE = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE
_TYPE_SHIFT = 4


def define(connection: Connection, index: int, pin: "bytes | None", owner: "bytes | None") -> None:
    """Make the counter and count once, since it has no value before that."""
    attributes = int(_USE) | int(TPM2_NT.COUNTER) << _TYPE_SHIFT
    if not pin:
        attributes |= int(TPMA_NV.NO_DA)  # as the key's own: others' wrong PINs must not lock it
    public = TPMS_NV_PUBLIC(
        nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=_SIZE
    )
    esapi = connection.esapi
    with connection.authorised(ESYS_TR.OWNER, owner) as session:
        made = esapi.nv_define_space(
            TPM2B_AUTH(pin or b""), TPM2B_NV_PUBLIC(nvPublic=public), session1=session
        )
    with connection.authorised(made, pin) as session:
        esapi.nv_increment(made, session1=session)
    esapi.tr_close(made)


def renew(connection: Connection, index: int, pin: "bytes | None", owner: "bytes | None") -> None:
    """Make a new key's counter; one that an earlier key at this handle left had that key's PIN."""
    esapi = connection.esapi
    if connection.occupied(index):
        left = _found(connection, index)
        with connection.authorised(ESYS_TR.OWNER, owner) as session:
            esapi.nv_undefine_space(left, session1=session)
    define(connection, index, pin, owner)


def _found(connection: Connection, index: int) -> "Any":
    # Anew each time: the first count changes the index's name.
    try:
        found = connection.esapi.tr_from_tpmpublic(index)
    except TSS2_Exception as error:
        if errors.answer(error) != int(TPM2_RC.HANDLE):
            raise
        raise KeyDriverError(
            "no-counter", "the TPM has no counter 0x%08x any more; was it cleared?" % index
        ) from None
    public, _ = connection.esapi.nv_read_public(found)
    attributes = int(public.nvPublic.attributes)
    kind = (attributes & int(TPMA_NV.TPM2_NT_MASK)) >> _TYPE_SHIFT
    if kind != int(TPM2_NT.COUNTER) or attributes & int(_USE) != int(_USE):
        raise KeyDriverError(
            "wrong-counter",
            "NV index 0x%08x is another program's and no counter of ours; choose another handle "
            "for the key" % index,
        )
    return found


def _value(
    connection: Connection,
    index: int,
    pin: "bytes | None",
    before: "list[int] | None" = None,
) -> int:
    """Its value; with `before` one more, once, though the TPM may ask to try all of this again.

    before: empty; keeps the value from which it is raised.
    """
    found = _found(connection, index)
    try:
        with connection.authorised(found, pin) as session:
            value = _read(connection, found, session)
            if before is None or (before and value != before[0]):
                return value
            before[:] = [value]
            connection.esapi.nv_increment(found, session1=session)
            return _read(connection, found, session)
    finally:
        _forget(connection.esapi, found)


def _read(connection: Connection, found: "Any", session: "Any") -> int:
    try:
        return int.from_bytes(
            bytes(connection.esapi.nv_read(found, _SIZE, session1=session)), "big"
        )
    except TSS2_Exception as error:
        if errors.answer(error) != int(TPM2_RC.NV_UNINITIALIZED):
            raise
        return 0  # somebody made it and did not count yet


def _forget(esapi: "Any", found: "Any") -> None:
    try:
        esapi.tr_close(found)
    except TSS2_Exception:
        pass  # the connection is gone and its memory with it; say what was first


class Tpm2Counter(Counter):
    """The counter that belongs to a key; it has 64 bits and ends never."""

    limit = None

    def __init__(self, tpm: Tpm, index: int, pin: "bytes | None") -> None:
        self._tpm = tpm
        self._index = index
        self._pin = pin
        self._what = "TPM counter 0x%08x" % index
        self._job: "Job | None" = None
        self._new: "int | None" = None

    def read(self) -> int:
        """Its value."""
        index, pin = self._index, self._pin
        found: int = self._tpm.run(self._what, lambda c: _value(c, index, pin))
        return found

    def begin(self) -> None:
        """Start to raise it by one; a TPM takes tens of milliseconds."""
        if self._job is not None:
            raise KeyDriverError("busy", self._what + ": is still counting")
        index, pin = self._index, self._pin
        self._new = None
        before: "list[int]" = []
        self._job = self._tpm.start(self._what, lambda c: _value(c, index, pin, before))

    def poll(self) -> bool:
        """Whether value() has the new value."""
        if self._job is None:
            if self._new is None:
                raise KeyDriverError("not-raising", self._what + ": counts nothing: begin() first")
            return True
        return self._take(self._job) if self._job.ready() else False

    def value(self) -> int:
        """The new value, after poll() was True."""
        new, self._new = self._new, None
        if new is None:
            raise KeyDriverError("not-ready", self._what + ": has no new value")
        return new

    def increment(self) -> int:
        """begin, poll and value in one; sleeps while the TPM counts."""
        self.begin()
        if self._job is not None:
            self._take(self._job)
        return self.value()

    def _take(self, job: Job) -> bool:
        try:
            self._new = job.result()
        finally:
            self._job = None
        return True
