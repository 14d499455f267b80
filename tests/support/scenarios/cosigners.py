"""Cosignatures on log checkpoints (C2SP tlog-cosignature), ours and another implementation's."""

from support import examples as ex
from support.scenarios import Scenario, Scenarios
from tallystick.evidence import cosignature, note
from tallystick.evidence.cosignature import CosignerKey
from tallystick.evidence.note import Note

TIME_S = 1_767_000_000
# Made by aics-tlog 0.2.1 (PyPI, Apache-2.0), an independent implementation: its sign_checkpoint and
# sign_cosignature over the tree of the entries "0" to "299", with the keys SHA-256("vector log")
# and SHA-256("vector witness"), at this time.
AICS_TEXT = (
    "log.example/vector\n300\nhOE+weA3FVrmGXV1mbLNIa2lpWXg/ZsxOcDDxsG4rak=\n\n"
    "\u2014 log.example/vector iVDBSqrywmMjQeCBkMOgFeUBCuHSvApZ+0deBw5vy6a1oFsvtSmiLVHedpLF7WdaxS"
    "2KYL7aVcil4ObZRjFydyWHdwA=\n"
    "\u2014 witness.example/w1 hZoUmAAAAABpUkfASaQatNoKIjc+TnnzD1u235jm4TKfEX9gv7Uvt7NjYN/Mgd6Edw9q"
    "Fi0n5do5WuxG7cYp23hCJsWf3p7huddUCQ==\n"
)
AICS_LOG = "log.example/vector+8950c14a+ASZj39YJh1mKgn48tWr9HUcwcEFzACQmRPe1bE9cxCjL"
AICS_WITNESS = "witness.example/w1+859a1498+BGk3wlLjV+yCttJla04NQ0M/G3Vx/zywAnNR/xYbGK5E"


def witness() -> CosignerKey:
    return CosignerKey("witness.example", ex.WITNESS.public_key())


def cosigned(body: str, time_s: int = TIME_S) -> Note:
    """The log checkpoint, with the cosignature that is made on a body."""
    head = ex.log_checkpoint()
    line = cosignature.cosign(ex.WITNESS, "witness.example", body, time_s)
    return Note(head.origin, head.size, head.root, [*head.signatures, line])


def _with(signature: bytes) -> str:
    head = ex.log_checkpoint()
    line = ("witness.example", witness().key_id, signature)
    return Note(head.origin, head.size, head.root, [*head.signatures, line]).text()


def cosignatures() -> Scenarios:
    body = ex.log_checkpoint().body()
    good = cosigned(body)
    raw = good.signatures[-1][2]
    key = witness().text()
    later = (TIME_S + 1).to_bytes(8, "big") + raw[8:]
    plain = ex.WITNESS.sign(body.encode())
    for name, expect, about, text, by in (
        ("good", "ok", "A cosignature at a time.", good.text(), key),
        ("at-zero", "ok", "The first second.", cosigned(body, 0).text(), key),
        ("at-the-end", "ok", "The last second.", cosigned(body, 2**63 - 1).text(), key),
        ("aics-tlog", "ok", "Made by aics-tlog 0.2.1, on another log.", AICS_TEXT, AICS_WITNESS),
        ("none", "wrong-key", "Only the log's own.", ex.log_checkpoint().text(), key),
        ("other-time", "bad-signature", "One second later.", _with(later), key),
        ("time-over-63-bits", "bad-signature", "2^63 s.", _with(b"\x80" + raw[1:]), key),
        ("no-time", "bad-signature", "The signature alone.", _with(raw[8:]), key),
        ("longer", "bad-signature", "A byte more.", _with(raw + b"\0"), key),
        (
            "plain-signature",
            "bad-signature",
            "A signature over the body alone.",
            _with(raw[:8] + plain),
            key,
        ),
        (
            "other-size",
            "bad-signature",
            "The size was changed.",
            good.text().replace("\n8\n", "\n9\n"),
            key,
        ),
    ):
        yield Scenario("log-cosignature", name, "6.3", about, {"text": text, "key": by}, expect)


def keys() -> Scenarios:
    good = witness().text()
    name, id_, rest = good.split("+", 2)
    as_note = note.NoteKey("witness.example", ex.WITNESS.public_key()).text()
    for scenario, expect, about, text in (
        ("good", "ok", "Name, key id and key of type 4.", good),
        ("aics-tlog", "ok", "As aics-tlog 0.2.1 writes it.", AICS_WITNESS),
        ("note-key", "bad-key", "Type 1 is a log's.", as_note),
        ("other-hash", "bad-key", "The hash is another key's.", f"{name}+00000000+{rest}"),
        ("other-name", "bad-key", "The hash is another name's.", f"x{name}+{id_}+{rest}"),
        ("two-parts", "truncated", "No key.", f"{name}+{id_}"),
        ("no-name", "bad-value", "A key without a name.", f"+{id_}+{rest}"),
    ):
        yield Scenario("cosigner-key", scenario, "6.3", about, {"text": text}, expect)
    given = {"text": AICS_TEXT, "key": AICS_LOG}
    about = "Signed by aics-tlog 0.2.1, with a cosignature beside."
    yield Scenario("log-checkpoint", "aics-tlog", "6.3", about, given, "ok")


def all_scenarios() -> Scenarios:
    for part in (cosignatures, keys):
        yield from part()
