"""How many cosignatures a client needs, by organisation, and what that survives (A09)."""

from itertools import combinations

import pytest

from support.devices import key
from support.otherlog import OtherLog
from tallystick.evidence import cosignature
from tallystick.evidence.cosignature import CosignerKey
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.note import Note
from tallystick.evidence.root import format_root
from tallystick.hw.software_key import FileKey
from tallystick.verify import witnesses
from tallystick.verify._toml import Document
from tallystick.verify.policy import parse_policy
from tallystick.verify.witnesses import Accepted, Witnesses

LOG = OtherLog()
NOW_S = 1_795_000_000


def cosigner(name: str) -> tuple[FileKey, CosignerKey]:
    signer = key(f"witness {name}")
    return signer, CosignerKey(name, signer.public_key())


def cosigned(note: Note, names: str, time_s: int = NOW_S) -> Note:
    more = [cosignature.cosign(cosigner(name)[0], name, note.body(), time_s) for name in names]
    return Note(note.origin, note.size, note.root, [*note.signatures, *more])


def accept(**organisations: str) -> tuple[Accepted, ...]:
    return tuple(
        Accepted(organisation, cosigner(name)[1])
        for organisation, names in organisations.items()
        for name in names
    )


def test_an_organisation_counts_once() -> None:
    policy = Witnesses(2, accept(x="abc", y="de"))
    note = LOG.checkpoint(8)
    with pytest.raises(Unverified, match=r"1 of the 2 organisations .*: x$") as error:
        policy.demand(cosigned(note, "abc"), LOG.note_key)
    assert error.value.reason == "bad-policy"
    found = policy.demand(cosigned(note, "cd"), LOG.note_key)
    assert found.times == {"x": NOW_S, "y": NOW_S}
    with pytest.raises(Unverified, match=r"0 of the 2 .*: none$"):
        policy.demand(cosigned(note, "z"), LOG.note_key)


def test_the_logs_own_organisation_does_not_count() -> None:
    own = Accepted("own", cosignature.cosigner_of(LOG.note_key))
    sister = Accepted("own", cosigner("a")[1])
    policy = Witnesses(1, (own, sister, *accept(y="d")))
    note = LOG.checkpoint(8)
    itself = cosignature.cosign(LOG.signer, LOG.origin, note.body(), NOW_S)
    note.signatures.append(itself)
    with pytest.raises(Unverified, match="of the log's own organisation"):
        policy.demand(cosigned(note, "a"), LOG.note_key)
    assert policy.counting(LOG.note_key) == {"y"}
    assert policy.demand(cosigned(note, "ad"), LOG.note_key).times == {"y": NOW_S}


PINNED = f"""
roots = ["{format_root("fleet", key("a fleet").public_key())}"]
[[validators.accept]]
organisation = "own"
key = "{format_root("v", key("v").public_key())}"
note_key = "{LOG.note_key.text()}"
[witnesses]
at_least = 1
[[witnesses.accept]]
organisation = "own"
key = "{cosigner("a")[1].text()}"
[[witnesses.accept]]
organisation = "y"
key = "{cosigner("d")[1].text()}"
"""


def test_a_second_witness_of_the_pinned_operator_does_not_count() -> None:
    """Nor where the log's own key is not among the accepted witnesses."""
    policy = parse_policy(PINNED).witnesses
    note = LOG.checkpoint(8)
    with pytest.raises(Unverified, match=r"0 of the 1 .* a: of the log's own organisation"):
        policy.demand(cosigned(note, "a"), LOG.note_key)
    assert policy.counting(LOG.note_key) == {"y"}
    assert policy.demand(cosigned(note, "ad"), LOG.note_key).times == {"y": NOW_S}
    # What is known otherwise than by a note key counts as well.
    unpinned = Witnesses(1, policy.accept)
    assert unpinned.read(cosigned(note, "ad"), LOG.note_key).times == {"own": NOW_S, "y": NOW_S}
    told = unpinned.read(cosigned(note, "ad"), LOG.note_key, owner="own")
    assert told.times == {"y": NOW_S} and "own organisation" in told.left[0]


def test_a_wrong_line_of_an_accepted_key_refuses_the_checkpoint() -> None:
    policy = Witnesses(1, accept(x="a", y="d"))
    other = cosigned(LOG.checkpoint(9), "a").signatures[-1]
    note = cosigned(LOG.checkpoint(8), "d")
    note.signatures.append(other)
    with pytest.raises(Unverified) as error:
        policy.demand(note, LOG.note_key)
    assert error.value.reason == "bad-signature"
    # A note signature under a cosigner's key and the other way round are no cosignatures.
    signer, cosigner_key = cosigner("a")
    plain = Note(LOG.origin, 8, LOG.checkpoint(8).root, []).sign(signer, "a")
    with pytest.raises(Unverified, match="0 of the 1"):
        policy.demand(plain, LOG.note_key)
    relabelled = [("a", cosigner_key.key_id, plain.signatures[0][2])]
    with pytest.raises(Unverified, match="not a time and 64 bytes"):
        policy.demand(Note(LOG.origin, 8, plain.root, relabelled), LOG.note_key)


def test_an_old_cosignature_does_not_count() -> None:
    policy = Witnesses(1, accept(x="a"), age_s_max=600)
    note = cosigned(LOG.checkpoint(8), "a")
    policy.demand(note, LOG.note_key, NOW_S + 600)
    with pytest.raises(Unverified, match="601 s old"):
        policy.demand(note, LOG.note_key, NOW_S + 601)


def fooled(n: int, k: int, liars: int) -> bool:
    """By trying: can a lying log and `liars - 1` lying witnesses get k on each of two trees?"""
    if not liars:
        return False
    lying = set(range(liars - 1))
    for first in combinations(range(n), k):
        for second in combinations(range(n), k):
            if set(first) & set(second) <= lying:
                return True
    return False


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_what_k_of_n_survives_is_what_trying_gives(n: int) -> None:
    """n beside the log's own organisation: 3, 4 and 7 in all, and less."""
    for k in range(1, n + 1):
        liars, away = witnesses.survives(n, k)
        assert [fooled(n, k, f) for f in range(n + 2)] == [f > liars for f in range(n + 2)]
        assert [n - gone >= k for gone in range(n + 1)] == [gone <= away for gone in range(n + 1)]
        said = witnesses.limits(n, k)
        assert (said == []) == (liars >= 1 and away >= 1)
        if n < 3:
            assert f"{n} beside the log's own cannot survive one liar" in said[-1]


def test_a_policy_says_what_it_cannot_survive() -> None:
    assert "alone can show two trees" in Witnesses(0).limits(None)[0]
    three = Witnesses(2, accept(x="a", y="b", z="c"))
    assert three.limits(LOG.note_key) == []
    own = Accepted("own", cosignature.cosigner_of(LOG.note_key))
    assert Witnesses(2, (own, *accept(y="b", z="c"))).limits(LOG.note_key) != []


ONE = """
[[accept]]
organisation = "City"
key = "{key}"
"""
POLICY = f"""
at_least = 1
age = "10 min"
{ONE}"""


def parse(text: str) -> Witnesses:
    return witnesses.parse_witnesses(Document(text, "policy", 65_536).top)


def test_the_table_of_a_policy() -> None:
    found = parse(POLICY.format(key=cosigner("a")[1].text()))
    assert found == Witnesses(1, (Accepted("City", cosigner("a")[1]),), 600)
    # A validator's note key tells its cosigner key.
    by_note = parse(POLICY.format(key=LOG.note_key.text()))
    assert by_note.accept[0].key == cosignature.cosigner_of(LOG.note_key)
    for text, says in (
        (POLICY.format(key="x"), "accept.*key"),
        (POLICY.format(key=LOG.note_key.text()).replace("at_least = 1", "at_least = 2"), "1 here"),
        (POLICY.format(key=LOG.note_key.text()) + "x = 1", "x"),
        (POLICY.format(key=LOG.note_key.text()) + ONE.format(key=LOG.note_key.text()), "twice"),
    ):
        with pytest.raises(Malformed, match=says):
            parse(text)
