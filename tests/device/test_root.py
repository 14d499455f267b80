"""Lines of fleet roots."""

from _made import ISS, Key, refused
from tallystick.evidence import keys
from tallystick.evidence.root import format_root, parse_root

# The key of RFC 9052, C.7.1.
EC = (
    b"\xba\xc5\xb1\x1c\xad\x8f\x99\xf9\xc7\x2b\x05\xcf\x4b\x9e\x26\xd2"
    b"\x44\xdc\x18\x9f\x74\x52\x28\x25\x5a\x21\x9a\x86\xd6\xa0\x9e\xff"
    b"\x20\x13\x8b\xf8\x2d\xc1\xb6\xd5\x62\xbe\x0f\xa5\x4a\xb7\x80\x4a"
    b"\x3a\x64\xb6\xd7\x2c\xcf\xed\x6b\x6f\xb6\xed\x28\xbb\xfc\x11\x7e"
)


def test_one_line_one_root() -> None:
    for key in (Key("root").public_key(), keys.from_raw(-7, EC)):
        line = format_root(ISS, key)
        assert line.startswith("acme+")
        assert parse_root(line) == (ISS, key)
        for wrong in (
            line + "A",
            line[:-1],
            line + "\n",
            " " + line,
            line + "=",
            "acme" + line[5:],
            "Acme" + line[4:],
            "+" + line[5:],
            line + "+",
        ):
            assert refused(parse_root, wrong), wrong
    assert refused(parse_root, b"acme+") == "bad-value"
    assert refused(format_root, "", key) == "bad-header"
