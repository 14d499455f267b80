"""A TPM URI names a handle whose counter is its own, or one KeyDriverError says what is wrong."""

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.tpm2_uri import parse

SEEDS = (
    b"handle=0x81020001;ak=0x81020002;tcti=device:/dev/tpmrm0",
    b"handle=0x813FFFFF;pin=yes;tcti=swtpm:host=127.0.0.1,port=2321;attester=/etc/attester.cbor",
)


def target(data: bytes) -> None:
    try:
        found = parse(data.decode("latin-1"))
    except KeyDriverError as error:
        if error.reason != "bad-key-uri":
            raise AssertionError from error
        return
    assert 0x81000000 <= found.handle <= 0x813FFFFF
    assert found.counter & 0x003FFFFF == found.handle & 0x003FFFFF
    assert 0x01800000 <= found.counter <= 0x01BFFFFF
    assert found.ak != found.handle
    assert found.tcti
