"""Evidence files (docs/protocol.md, section 7)."""

from _signing import refused
from tallystick.evidence import evidencefile
from tallystick.evidence.cbor import encode
from tallystick.evidence.half import Half

HASH = b"h" * 32


def test_a_file_comes_back() -> None:
    half = Half(b"record", b"s" * 16, 2, [HASH], b"checkpoint", HASH)
    made = evidencefile.EvidenceFile(
        [[b"enrolment", b"rotation"]],
        [b"profile"],
        [half],
        [(b"entry", [b"receipt"]), (b"entry", [])],
        [b"custody"],
        ["note\n"],
        "for people",
        [b"head"],
    )
    again = evidencefile.parse(made.encode())
    assert again == made
    assert again.halves[0] == half and again.entries[0] == (b"entry", [b"receipt"])
    assert again.note == "for people"


def test_what_is_empty_is_left_out() -> None:
    empty = evidencefile.EvidenceFile([], [], [], [], [], [], None, [])
    assert empty.encode() == encode([22, "tallystick/1", {}])
    assert evidencefile.parse(empty.encode()) == empty
    for sections, reason in (
        ({1: []}, "non-canonical"),
        ({7: ""}, "bad-value"),
        ({12: [b"x"]}, "bad-value"),
        ({1: [[]]}, "bad-value"),
        ({2: ["text"]}, "bad-type"),
        ({4: [[b"entry"]]}, "bad-value"),
        ({5: {}}, "bad-type"),
    ):
        data = encode([22, "tallystick/1", sections])
        assert refused(evidencefile.parse, data) == reason, sections
    assert refused(evidencefile.parse, encode([22, "tallystick/2", {}])) == "bad-value"
