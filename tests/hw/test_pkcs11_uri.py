"""PKCS#11 URIs: what of RFC 7512 is taken, and that what is refused is not repeated."""

import pytest

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw._pkcs11_uri import URI_CHARS_MAX, parse


def test_every_supported_attribute() -> None:
    found = parse(
        "token=robot%20arm%3B1;manufacturer=ACME;model=T-1;serial=0A;object=key%2F1;id=%00%ff;"
        "type=private?module-path=/usr/lib/x.so&pin-source=file:/run/pin"
    )
    assert (found.token, found.object, found.id) == ("robot arm;1", "key/1", b"\x00\xff")
    assert (found.manufacturer, found.model, found.serial) == ("ACME", "T-1", "0A")
    assert (found.module, found.pin_file) == ("/usr/lib/x.so", "/run/pin")
    assert parse("token=t;object=o").module is None
    assert parse("serial=1;id=%01").pin_file is None
    assert parse("token=t;object=o?pin-source=file:///run/pin").pin_file == "/run/pin"


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "token=t",
        "object=o",
        "token=t;object=",
        "token=;object=o",
        "token=t;token=u;object=o",
        "token=t;object=o;slot-id=1",
        "token=t;object=o;library-version=1",
        "token=t;object=o;x-vendor=1",
        "token=t;object=o;",
        "token=t;object=o;type=public",
        "token=t;object=o;pin-value=canary",
        "token=t;object=o;canary",
        "token=t;object=o?",
        "token=t;object=o?pin-value=canary",
        "token=t;object=o?canary",
        "token=t;object=o?canary=1",
        "token=t;object=o?module-name=softhsm2",
        "token=t;object=o?module-path=lib.so",
        "token=t;object=o?pin-source=canary",
        "token=t;object=o?pin-source=file:canary",
        "token=t;object=o?pin-source=file://host/canary",
        "token=t;object=o?pin-source=|/bin/canary",
        "token=t;object=o?pin-source=file:/a&pin-source=file:/b",
        "token=t o;object=o",
        "token=t%2;object=o",
        "token=t%zz;object=o",
        "token=%ff;object=o",
        "token=a%0ab;object=o",
        "token=a%1b[31m;object=o",
        "token=t;object=" + "o" * URI_CHARS_MAX,
    ],
)
def test_what_is_not_supported_is_refused_and_not_repeated(rest: str) -> None:
    with pytest.raises(KeyDriverError) as raised:
        parse(rest)
    assert raised.value.reason == "bad-key-uri"
    assert "canary" not in str(raised.value)


def test_a_pin_in_the_uri_is_named_as_the_fault() -> None:
    with pytest.raises(KeyDriverError, match="pin-value="):
        parse("token=t;object=o?pin-value=1234")
