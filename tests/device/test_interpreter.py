"""What the evidence format asks of an interpreter, so that a port that lacks it says so first."""

import binascii
import gc
import hashlib
import sys

# A microcontroller's small integers have 31 bits; everything past them is a long one.
U64_MAX = (1 << 64) - 1
I64_MIN = -(1 << 63)


def test_integers_have_no_width() -> None:
    assert U64_MAX + 1 == 18446744073709551616
    assert I64_MIN - 1 == -9223372036854775809
    assert (1 << 31) - 1 + 1 == 2147483648
    assert -7 // 2 == -4
    assert -7 % 10 == 3


def test_integers_to_and_from_bytes() -> None:
    assert (258).to_bytes(2, "big") == b"\x01\x02"
    assert U64_MAX.to_bytes(8, "big") == b"\xff" * 8
    assert int.from_bytes(b"\x80" + b"\x00" * 7, "big") == 1 << 63


def test_sha256_of_fips_180_example() -> None:
    digest = hashlib.sha256(b"abc").digest()
    assert binascii.hexlify(digest) == (
        b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_sha256_in_parts() -> None:
    parts = hashlib.sha256(b"a")
    parts.update(b"bc")
    assert parts.digest() == hashlib.sha256(b"abc").digest()


def test_text_is_utf8() -> None:
    assert "\u00e9\u20ac".encode() == b"\xc3\xa9\xe2\x82\xac"
    try:
        str(b"\xff\xfe", "utf-8")
    except UnicodeError:
        return
    assert False, "invalid UTF-8 was taken for text"


def test_bytes_compare_bytewise() -> None:
    first, second = b"\x01", b"\x01\x00"
    assert first < second < b"\x02"
    assert sorted([b"b", b"a\xff", b"a"]) == [b"a", b"a\xff", b"b"]


def test_numbers_as_text_with_declared_decimals() -> None:
    assert "%.6f" % 0.1 == "0.100000"
    assert "%.3f" % -0.088 == "-0.088"


def test_memory_can_be_given_back() -> None:
    block = bytearray(16384)
    assert len(block) == 16384
    del block
    gc.collect()
    assert sys.implementation.name in ("cpython", "micropython")
