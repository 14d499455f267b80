"""A PKCS#11 URI names a token and a key, or one KeyDriverError that repeats no PIN says why."""

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw._pkcs11_uri import parse

SEEDS = (
    b"token=robot%20arm;object=key?module-path=/usr/lib/x.so&pin-source=file:/run/pin",
    b"token=t;manufacturer=ACME;model=T-1;serial=0A;object=key%2F1;id=%00%ff;type=private",
    b"serial=1;id=%01?pin-source=file:///run/pin",
)


def target(data: bytes) -> None:
    try:
        found = parse(data.decode("latin-1"))
    except KeyDriverError as error:
        if error.reason != "bad-key-uri":
            raise AssertionError from error
        return
    assert found.token or found.serial
    assert found.object or found.id
    assert found.where().isprintable()
